import { hash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { build } from 'esbuild'

// The page that judges files in a browser, as one file: its script, its style and the policy engine are in it, and its content
// security policy lets it load nothing else and reach nobody.

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'client/verify/src/page')

/** Writes the page to `file`. The same bytes wherever it is built with the same packages. */
export async function buildPage(file: string = join(root, 'client/verify/dist/verify.html')): Promise<string> {
  const engine = await readFile(join(root, 'node_modules/@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm'))
  const packed = await promisify(gzip)(engine, { level: 9 })
  // The header names the system that packed it.
  packed[9] = 255
  const script = await bundle(packed.toString('base64'))
  const style = await readFile(join(folder, 'page.css'), 'utf8')
  const policy = [
    "default-src 'none'",
    `script-src '${integrity(script)}' 'wasm-unsafe-eval'`,
    `style-src '${integrity(style)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const template = await readFile(join(folder, 'page.html'), 'utf8')
  const page = [
    ['content="default-src \'none\'"', `content="${policy}"`],
    ['<style></style>', `<style>${style}</style>`],
    ['<script></script>', `<script>${script}</script>`],
  ].reduce((text, [place, content]) => {
    const [before, after, ...others] = text.split(place!)
    if (after === undefined || others.length > 0) throw new Error(`the page has not one ${place}`)
    return `${before}${content}${after}`
  }, template)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, page)
  return file
}

async function bundle(engine: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: ['client/verify/src/page/page.ts'],
    absWorkingDir: root,
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    conditions: ['browser'],
    target: 'es2024',
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'error',
    // Its own loader would fetch the engine; the page brings it along.
    define: { CELLA_POLICY_ENGINE: JSON.stringify(engine), 'import.meta.url': '""' },
  })
  return outputFiles[0]!.text
}

function integrity(text: string): string {
  return `sha256-${hash('sha256', text, 'base64')}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(`${await buildPage()}\n`)
