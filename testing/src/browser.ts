import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import chromium from '@sparticuz/chromium'
import { build } from 'esbuild'
import { type Browser, type Page, chromium as playwright } from 'playwright-core'

export type { Browser, Page } from 'playwright-core'

/** Why no browser can be started here, for a test to skip with; `false` where one can. */
export const noBrowser: string | false =
  process.platform === 'linux' ? false : 'the Chromium that comes with the tests is for Linux'

/** A real browser without a window. Starting it takes a second of CPU: a test file starts one, and closes it. */
export async function startBrowser(): Promise<Browser> {
  // Tests run as root in containers, where Chromium's own sandbox can't be set up. Only pages of ours are opened.
  return playwright.launch({ executablePath: await chromium.executablePath(), args: ['--no-sandbox'] })
}

/** Opens `html` as a file, where a page has WebCrypto, hands it to `use` and fails for any error that the page had. */
export async function withPage<T>(browser: Browser, html: string, use: (page: Page) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-page-'))
  try {
    const file = join(folder, 'index.html')
    await writeFile(file, html)
    const page = await browser.newPage()
    const errors: Error[] = []
    page.on('pageerror', (error) => errors.push(error))
    await page.goto(pathToFileURL(file).href)
    const result = await use(page)
    await page.close()
    if (errors.length > 0) throw new AggregateError(errors, `the page failed: ${errors[0]!.message}`)
    return result
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * What a browser loads for `code`, an ES module that imports by names as a file in `folder` does: one classic script,
 * minified, with what the `browser` condition chooses and nothing that isn't used.
 */
export async function bundleForBrowser(code: string, folder: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: folder, loader: 'ts' },
    bundle: true,
    minify: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    conditions: ['browser'],
    target: 'es2024',
  })
  return outputFiles[0]!.contents
}
