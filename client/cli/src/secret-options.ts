import { createReadStream } from 'node:fs'
import { compilePolicy } from '@cella/policy'
import type { PublishOptions } from '@cella/sdk'
import type { Command } from 'commander'
import type { Context } from './context.ts'
import { UsageError } from './error.ts'
import { readTextFile } from './files.ts'
import { collect } from './options.ts'
import type { PolicyOptions } from './policy-options.ts'

/** What `cella publish` takes of a secret beside the options of every asset. */
export interface SecretOptions {
  readonly guests?: string
  readonly measurement?: string[]
  readonly hostData?: string[]
}

export function addSecretOptions(command: Command): void {
  command
    .option('--guests <name>', 'of a secret: the attestation policy of guests that may have it (cella guests allow)')
    .option('--measurement <hex>', 'of a secret: only guests of this measurement; may be repeated', collect)
    .option('--host-data <hex>', 'of a secret: only guests launched with this; may be repeated', collect)
}

/** As a vault hands it out: whole, to a guest. */
const secretBytesMax = 1_048_576

/** From a file, a descriptor (`/dev/fd/3`) or standard input (`-`): never from the command line, which others can see. */
export async function readSecret(
  context: Context,
  file: string,
  flags: SecretOptions & { readonly as?: string },
): Promise<PublishOptions['content']> {
  if (flags.guests === undefined) {
    throw new UsageError('who may have the secret?', '--guests NAME, after cella guests allow NAME')
  }
  if (file === '-' && flags.as === undefined) throw new UsageError('the secret has no name', '--as NAME')
  const source: AsyncIterable<Uint8Array> = file === '-' ? context.io.stdin : createReadStream(file)
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of source) {
    length += part.length
    if (length > secretBytesMax) throw new UsageError(`the secret has more than ${secretBytesMax} bytes`)
    parts.push(part)
  }
  return { kind: 'secret', bytes: Buffer.concat(parts), guests: flags.guests }
}

const ofContracts = [
  'program',
  'publisher',
  'receiver',
  'account',
  'organisation',
  'role',
  'place',
  'isolation',
] as const

/** The Cedar text of the options, or the owner's own. */
export async function secretPolicyOf(
  options: PolicyOptions & SecretOptions,
  window: { readonly notBefore: number; readonly notAfter: number },
): Promise<string> {
  const foreign = ofContracts.find((name) => options[name] !== undefined)
  if (foreign !== undefined) {
    throw new UsageError(`--${foreign} has no meaning for a secret`, 'who may have it is said by --guests')
  }
  if (options.policy !== undefined) return readTextFile(options.policy)
  return compilePolicy({
    secret: true,
    measurements: options.measurement,
    hostData: options.hostData,
    tees: options.tee,
    boundaries: options.boundary,
    chips: options.chip,
    simulated: options.allowSimulated,
    ...window,
    uses: options.runs,
  })
}
