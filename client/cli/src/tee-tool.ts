import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { CliError } from './error.ts'

const timeoutMs = 60_000
const answerBytesMax = 16 * 2 ** 20
// Device calls go through node:ffi; what this process may do, the machine's user may do anyway.
const nodeOptions = ['--disable-warning=ExperimentalWarning', '--experimental-ffi']

/**
 * Asks the machine's TEE, real or simulated, through the tool that belongs to the enclaves: no code of theirs runs in this
 * process. Throws ERR_SERVER_NOT_INSTALLED where only the client is installed, ERR_REFUSED with the tool's own words.
 */
export async function askTee(parameters: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await run([...nodeOptions, toolEntry(), ...parameters])
  let said: unknown
  try {
    said = JSON.parse(stdout)
  } catch (cause) {
    throw new CliError('ERR_SERVER_UNAVAILABLE', `the TEE's tool failed: ${stderr.trim().slice(-500)}`, undefined, {
      cause,
    })
  }
  if (code === 0) return said
  const { message } = (said as { error: { message: string } }).error
  throw new CliError('ERR_REFUSED', message, 'cella doctor says what TEEs were looked for, and why each is not used')
}

function run(parameters: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { NODE_COMPILE_CACHE } = process.env
  const options = { env: { NODE_COMPILE_CACHE }, timeout: timeoutMs, maxBuffer: answerBytesMax }
  return new Promise((resolve) => {
    execFile(process.execPath, parameters, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : 1, stdout, stderr }),
    )
  })
}

/** In the source tree, or in a package beside this one. */
function toolEntry(): string {
  const inTree = fileURLToPath(new URL('../../../enclave/tee/src/tool-main.ts', import.meta.url))
  // A bundle lies elsewhere, where the same path would be somebody else’s file.
  if (import.meta.url.endsWith('/client/cli/src/tee-tool.ts') && existsSync(inTree)) return inTree
  try {
    return createRequire(import.meta.url).resolve('@cella/tee/tool')
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_NOT_INSTALLED',
      'TEEs can’t be looked for: only the client is installed here',
      'run it in a checkout of the project',
      { cause },
    )
  }
}
