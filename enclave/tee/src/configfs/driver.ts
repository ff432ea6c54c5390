import { FormatError } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { errorName, lookAt, readWhole } from '../files.ts'
import { quotePiece } from '../quote-pieces.ts'
import { malformed, snpPiece, tableCertificates } from '../snp-pieces.ts'
import { type Attempt, type EvidencePiece, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { usedPartOfEventLog } from './ccel.ts'
import { type TsmBlobs, type TsmPlace, type TsmProvider, tsmProvider, tsmReport } from './report.ts'
import { kernelFiles, type TsmFiles } from './tsm-files.ts'

const eventLogAreaBytesMax = 4 * 1024 * 1024
const eventLogBytesMax = 32_768

export interface ConfigfsOptions {
  readonly folder?: string
  /** SNP only: the VMPL of the report, 0 to 3 and not below the kernel's floor; the kernel's own choice when absent. */
  readonly privilegeLevel?: number
  /** TDX: the firmware's event log (CCEL); left out of the evidence where the file is absent. */
  readonly eventLog?: string
  /** For each try. A TDX quote may take the host's service seconds. */
  readonly timeoutMs?: number
  /** How the folder is worked on: as the kernel takes it, unless a test stands in for the kernel. */
  readonly files?: TsmFiles
}

/** Reports of SNP, TDX and CCA guests through the kernel's one interface. */
export function configfsDriver(options: ConfigfsOptions = {}): SourceDriver {
  const { folder = '/sys/kernel/config/tsm/report', files = kernelFiles, timeoutMs = 30_000 } = options
  const place: TsmPlace = { folder, files, timeoutMs }
  return {
    name: 'configfs-tsm',
    title: 'Linux configfs-tsm: AMD SEV-SNP, Intel TDX, Arm CCA',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookAt(folder, 'rw', attempts))) {
        const why = 'needs Linux 6.7, configfs mounted, a TSM provider, and the right to make folders there'
        return { source: undefined, attempts, why }
      }
      try {
        const provider = await tsmProvider(place)
        attempts.push({ what: `${folder}/*/provider`, found: provider })
        return { attempts, source: sourceOf(place, provider, options) }
      } catch (error) {
        attempts.push({ what: `${folder}/*/provider`, found: errorName(error) })
        return { source: undefined, attempts, why: (error as Error).message }
      }
    },
  }
}

function sourceOf(place: TsmPlace, provider: TsmProvider, options: ConfigfsOptions) {
  return {
    name: 'configfs-tsm',
    bindingLength: 64,
    async collect(binding: Uint8Array) {
      requireLength(binding, 64)
      const own = Uint8Array.from(binding)
      return [await pieceOf(provider, await tsmReport(place, provider, own, options.privilegeLevel), own, options)]
    },
  } as const
}

async function pieceOf(
  provider: TsmProvider,
  { out, aux }: TsmBlobs,
  binding: Uint8Array,
  options: ConfigfsOptions,
): Promise<EvidencePiece> {
  switch (provider) {
    case 'sev_guest':
      return snpPiece(out, tableCertificates(aux), binding)
    case 'tdx_guest':
      return quotePiece(
        out,
        'tdx',
        binding,
        await eventLogOf(options.eventLog ?? '/sys/firmware/acpi/tables/data/CCEL'),
      )
    case 'arm_cca_guest':
      return { role: 'cpu', format: 'cca/1', fields: { token: ccaToken(out) } }
    default:
      return provider satisfies never
  }
}

/** CBOR tag 399 in its shortest form (draft-ffm-rats-cca-token §4); the token's own parser reads the rest. */
function ccaToken(out: Uint8Array): Uint8Array {
  if (out[0] !== 0xd9 || out[1] !== 0x01 || out[2] !== 0x8f) {
    throw new TeeError('ERR_TEE_MALFORMED', 'the CCA token does not begin with its tag, 399')
  }
  return out
}

async function eventLogOf(path: string): Promise<Uint8Array | undefined> {
  let area: Uint8Array
  try {
    area = await readWhole(path, eventLogAreaBytesMax)
  } catch (error) {
    if (errorName(error) === 'ENOENT') return undefined
    throw error instanceof TeeError
      ? error
      : new TeeError('ERR_TEE_UNAVAILABLE', `${path}: ${errorName(error)}: the event log can’t be read`, {
          cause: error,
        })
  }
  try {
    const log = usedPartOfEventLog(area)
    if (log.length > eventLogBytesMax) {
      throw new FormatError('event log', `has ${log.length} bytes, at most ${eventLogBytesMax} travel`)
    }
    return log
  } catch (cause) {
    throw malformed(path, cause)
  }
}
