import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { facts, flags } from '../test/fixture.ts'
import { compilePolicy, decide, initPolicyEngine, PolicyError, policyEngineUrl, validatePolicy } from './index.ts'

const codeIs = (code: string) => (error: unknown) => error instanceof PolicyError && error.code === code

// One process has one engine, so the order of these steps matters: they are one test.
test('nothing is answered before the pinned engine has started', async () => {
  const policyText = compilePolicy(flags)
  assert.throws(() => validatePolicy(policyText), codeIs('ERR_POLICY_ENGINE_NOT_READY'))
  assert.throws(() => decide({ policyText, facts }), codeIs('ERR_POLICY_ENGINE_NOT_READY'))
  const wasm = await readFile(policyEngineUrl())
  const changed = new Uint8Array(wasm)
  changed[changed.length - 1]! ^= 1
  for (const bytes of [new Uint8Array(), changed, wasm.subarray(1)]) {
    await assert.rejects(initPolicyEngine(bytes), codeIs('ERR_POLICY_ENGINE_MISMATCH'))
  }
  assert.throws(() => decide({ policyText, facts }), codeIs('ERR_POLICY_ENGINE_NOT_READY'))
  await Promise.all([initPolicyEngine(wasm), initPolicyEngine(wasm)])
  await initPolicyEngine(wasm)
  assert.equal(decide({ policyText, facts }).allowed, true)
})

test('a bundle with the engine inside runs without code from strings', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-policy-'))
  try {
    const entry = `
      import wasm from 'cella:policy-engine.wasm'
      import { compilePolicy, decide, initPolicyEngine } from './src/index.ts'
      await initPolicyEngine(wasm)
      const { flags, facts } = JSON.parse(process.argv[2])
      const ask = (uses) => decide({ policyText: compilePolicy(flags), facts: { ...facts, uses } })
      console.log(JSON.stringify([ask(1), ask(2).reasons.map((reason) => reason.code)]))`
    const bundle = async (name: string) => {
      await build({
        stdin: { contents: entry, resolveDir: fileURLToPath(new URL('..', import.meta.url)), loader: 'ts' },
        alias: { 'cella:policy-engine.wasm': fileURLToPath(policyEngineUrl()) },
        loader: { '.wasm': 'binary' },
        bundle: true,
        format: 'esm',
        platform: 'node',
        outfile: join(folder, name),
      })
      return await readFile(join(folder, name))
    }
    const first = await bundle('a.mjs')
    assert.ok(first.equals(await bundle('b.mjs')), 'two builds differ')
    // Away from node_modules, so that nothing is found but what is inside.
    const argument = JSON.stringify({ flags: { ...flags, uses: 1 }, facts })
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--disallow-code-generation-from-strings',
      join(folder, 'a.mjs'),
      argument,
    ])
    assert.deepEqual(JSON.parse(stdout), [{ allowed: true, reasons: [] }, ['ERR_POLICY_USES']])
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('an engine that trapped answers nothing more', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-policy-'))
  try {
    // In a process of its own: it is of no use afterwards.
    const source = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
    const script = join(folder, 'trap.mjs')
    await writeFile(
      script,
      `import { readFileSync } from 'node:fs'
      import { engineCall } from ${source('./engine.ts')}
      import { decide, initPolicyEngine, policyEngineUrl, compilePolicy } from ${source('./index.ts')}
      await initPolicyEngine(readFileSync(policyEngineUrl()))
      const { flags, facts } = JSON.parse(process.argv[2])
      const codes = []
      const attempt = (call) => { try { codes.push(call()) } catch (error) { codes.push(error.code) } }
      attempt(() => decide({ policyText: compilePolicy(flags), facts }).allowed)
      const deep = 'permit(principal,action,resource)when{' + '('.repeat(20000) + 'true' + ')'.repeat(20000) + '};'
      attempt(() => engineCall((engine) => engine.policySetTextToParts(deep)))
      attempt(() => decide({ policyText: compilePolicy(flags), facts }).allowed)
      await initPolicyEngine(readFileSync(policyEngineUrl())).catch((error) => codes.push(error.code))
      attempt(() => decide({ policyText: compilePolicy(flags), facts }).allowed)
      console.log(JSON.stringify(codes))`,
    )
    const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify({ flags, facts })])
    const failed = 'ERR_POLICY_ENGINE_FAILED'
    assert.deepEqual(JSON.parse(stdout), [true, failed, failed, failed, failed])
  } finally {
    await rm(folder, { recursive: true })
  }
})
