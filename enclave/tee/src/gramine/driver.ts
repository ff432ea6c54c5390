import { join } from 'node:path'
import { TeeError } from '../error.ts'
import { errorName, lookAt, readWhole, within, writeOnce } from '../files.ts'
import { quotePiece } from '../quote-pieces.ts'
import { type Attempt, type Probe, requireLength, type SourceDriver } from '../source.ts'

// Gramine's pseudo-files: https://gramine.readthedocs.io/en/stable/attestation.html

const quoteBytesMax = 32_768
const sealingKeyLength = 16

export interface GramineOptions {
  readonly folder?: string
  readonly timeoutMs?: number
}

/** An SGX enclave under Gramine with `sgx.remote_attestation = "dcap"`. */
export function gramineDriver({ folder = '/dev/attestation', timeoutMs = 30_000 }: GramineOptions = {}): SourceDriver {
  return {
    name: 'gramine',
    title: 'Gramine: Intel SGX',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookAt(join(folder, 'user_report_data'), 'rw', attempts))) {
        return { source: undefined, attempts, why: 'this process does not run under Gramine with SGX' }
      }
      try {
        const type = new TextDecoder().decode(await readWhole(join(folder, 'attestation_type'), 64)).trim()
        attempts.push({ what: join(folder, 'attestation_type'), found: type })
        if (type !== 'dcap') return { source: undefined, attempts, why: `attestation type is ${type}, expected dcap` }
      } catch (error) {
        attempts.push({ what: join(folder, 'attestation_type'), found: errorName(error) })
        return { source: undefined, attempts, why: 'this Gramine does not say its attestation type' }
      }
      // One pair of files for the whole process: a second caller between write and read would get the first one's quote.
      let last: Promise<unknown> = Promise.resolve()
      return {
        attempts,
        source: {
          name: 'gramine',
          bindingLength: 64,
          async collect(binding) {
            requireLength(binding, 64)
            const own = Uint8Array.from(binding)
            const turn = last.then(() => quoteOver(folder, own))
            last = turn.catch(() => undefined)
            return [quotePiece(await within(timeoutMs, folder, turn), 'sgx', own)]
          },
          sealingKey: () => sealingKey(folder),
        },
      }
    },
  }
}

async function quoteOver(folder: string, binding: Uint8Array): Promise<Uint8Array> {
  try {
    await writeOnce(join(folder, 'user_report_data'), binding)
    return await readWhole(join(folder, 'quote'), quoteBytesMax)
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw new TeeError('ERR_TEE_REFUSED', `${folder}: ${errorName(cause)}: Gramine gave no quote; is aesmd running?`, {
      cause,
    })
  }
}

/** The key that the CPU derives for this MRENCLAVE on this machine (EGETKEY), 16 bytes. */
async function sealingKey(folder: string): Promise<Uint8Array> {
  const path = join(folder, 'keys/_sgx_mrenclave')
  try {
    const key = await readWhole(path, sealingKeyLength)
    if (key.length === sealingKeyLength && key.some((byte) => byte !== 0)) return key
  } catch (cause) {
    throw new TeeError('ERR_TEE_REFUSED', `${path}: ${errorName(cause)}: Gramine gave no sealing key`, { cause })
  }
  throw new TeeError('ERR_TEE_MALFORMED', `${path}: is not a key of ${sealingKeyLength} bytes`)
}
