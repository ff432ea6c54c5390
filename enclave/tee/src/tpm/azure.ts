import { ByteReader, concatBytes, decodeBase64url, decodeUtf8, encodeBase64url, FormatError } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { TeeError } from '../error.ts'
import { lookAt } from '../files.ts'
import { jsonObject, readingAnswer, textMember } from '../http/answer.ts'
import { callService, type ServiceAddress } from '../http/request.ts'
import { thimCertificates } from '../http/thim.ts'
import { quotePiece } from '../quote-pieces.ts'
import { snpPiece } from '../snp-pieces.ts'
import { type Attempt, type EvidencePiece, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { nvDefineSpace, nvRead, nvReadPublic, nvWrite, pcrRead, quote, readPublic, TpmRefusal } from './commands.ts'
import { openTpm, type Tpm } from './transport.ts'

// Azure confidential VM: the paravisor keeps the hardware report to itself and puts it, with the vTPM's attestation key,
// into an NV index (HCL report); the vTPM's quote is what is fresh.

const hclReportIndex = 0x01400001
const userDataIndex = 0x01400002
const attestationKey = 0x81000003
const userDataLength = 64
const hclReportBytesMax = 16_384
/** Every TPM has this much of TPM_PT_NV_BUFFER_MAX. */
const nvChunk = 512
const pcrIndexes = [...Array(24).keys()]
const tries = 4
/** HCL report: header 32, hardware report 1184, then five u32 and the JSON of the variable data. */
const hardwareReportOffset = 32
const hardwareReportLength = 1184
const tdReportLength = 1024

export interface AzureVmOptions {
  readonly device?: string
  /** Where Azure's instance metadata (VCEK) and its TD quote service answer. */
  readonly metadata?: ServiceAddress
  readonly timeoutMs?: number
}

/** An Azure confidential VM on SNP or TDX, by its vTPM. */
export function azureVtpmDriver(options: AzureVmOptions = {}): SourceDriver {
  const { device = '/dev/tpmrm0', timeoutMs = 30_000 } = options
  return {
    name: 'azure-vtpm',
    title: 'Azure confidential VM: vTPM over AMD SEV-SNP or Intel TDX',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookAt(device, 'rw', attempts))) {
        return { source: undefined, attempts, why: 'there is no TPM that this user may use' }
      }
      try {
        await withTpm(device, timeoutMs, async (tpm) => {
          const size = await tpm.run(nvReadPublic(hclReportIndex))
          attempts.push({ what: `NV index 0x${hclReportIndex.toString(16)}`, found: `${size} bytes` })
          const hash = await tpm.run(readPublic(attestationKey))
          attempts.push({ what: `key 0x${attestationKey.toString(16)}`, found: `name algorithm ${hash}` })
          // Qualifying data may be as long as the name algorithm's digest.
          if (hash !== 'sha256')
            throw new TeeError('ERR_TEE_REFUSED', `the attestation key’s name algorithm is ${hash}`)
        })
      } catch (error) {
        attempts.push({ what: 'HCL report and attestation key', found: (error as Error).message })
        return { source: undefined, attempts, why: 'the TPM is not the vTPM of an Azure confidential VM' }
      }
      return {
        attempts,
        source: {
          name: 'azure-vtpm',
          bindingLength: 32,
          async collect(binding) {
            requireLength(binding, 32)
            return [await azureEvidence(Uint8Array.from(binding), device, timeoutMs, options.metadata)]
          },
        },
      }
    },
  }
}

async function azureEvidence(
  binding: Uint8Array,
  device: string,
  timeoutMs: number,
  metadata: ServiceAddress = { host: '169.254.169.254', port: 80 },
): Promise<EvidencePiece> {
  const { report, message, signature, pcrs } = await withTpm(device, timeoutMs, async (tpm) => {
    await writeUserData(tpm, binding)
    const report = await readHclReport(tpm, binding, timeoutMs)
    return { report, ...(await quoteWithPcrs(tpm, binding)) }
  })
  return {
    role: 'cpu',
    format: 'azure-vm/1',
    fields: {
      hclReport: report,
      quote: message,
      signature,
      pcrs,
      ...(await hardwareParts(report, metadata, timeoutMs)),
    },
  }
}

/** What goes with the hardware report: on SNP the certificates of its key, on TDX a quote over the TD report. */
async function hardwareParts(
  hclReport: Uint8Array,
  metadata: ServiceAddress,
  timeoutMs: number,
): Promise<EvidencePiece['fields']> {
  const { type, variableData } = readingAnswer('the HCL report', () => readHcl(hclReport))
  const hardware = hclReport.subarray(hardwareReportOffset, hardwareReportOffset + hardwareReportLength)
  // The report data of either is the digest of the JSON with the attestation key, with zeros after it.
  const bound = sha256(variableData)
  if (type === 'sev-snp') {
    const path = '/metadata/THIM/amd/certification'
    const answer = await callService(metadata, { method: 'GET', path, headers: { Metadata: 'true' }, timeoutMs })
    const pem = readingAnswer('the host certificates', () => thimCertificates(answer))
    return { certificates: snpPiece(hardware, [pem], bound).fields.certificates! }
  }
  const body = { report: encodeBase64url(hardware.subarray(0, tdReportLength)) }
  const answer = await callService(metadata, { method: 'POST', path: '/acc/tdquote', body, timeoutMs })
  const tdQuote = readingAnswer('the TD quote', () =>
    decodeBase64url(textMember(jsonObject(answer, 'answer'), 'quote').replace(/=+$/, ''), 'quote'),
  )
  return { tdQuote: quotePiece(tdQuote, 'tdx', bound).fields.quote! }
}

/** The paravisor makes a new report with what lies in this index. Other guests may have made it: then it is written over. */
async function writeUserData(tpm: Tpm, binding: Uint8Array): Promise<void> {
  try {
    const size = await tpm.run(nvReadPublic(userDataIndex))
    if (size !== userDataLength) {
      throw new TeeError('ERR_TEE_REFUSED', `NV index 0x${userDataIndex.toString(16)} has ${size} bytes, expected 64`)
    }
  } catch (error) {
    if (!(error instanceof TpmRefusal && error.absent)) throw error
    await tpm.run(nvDefineSpace(userDataIndex, userDataLength))
  }
  await tpm.run(nvWrite(userDataIndex, concatBytes(binding, new Uint8Array(userDataLength - binding.length))))
}

/** Reads the report until it has our user data: the paravisor may need a moment for a new one. */
async function readHclReport(tpm: Tpm, binding: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
  const wanted = concatBytes(binding, new Uint8Array(userDataLength - binding.length)).toHex()
  for (const end = performance.now() + timeoutMs; ; ) {
    const report = await readIndex(tpm, hclReportIndex)
    const { userData } = readingAnswer('the HCL report', () => readHcl(report))
    if (userData === wanted) return report
    if (performance.now() >= end) {
      throw new TeeError('ERR_TEE_TIMEOUT', `the HCL report has not our user data after ${timeoutMs} ms`)
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(250, timeoutMs / 8)))
  }
}

async function readIndex(tpm: Tpm, index: number): Promise<Uint8Array> {
  const size = await tpm.run(nvReadPublic(index))
  if (size > hclReportBytesMax) throw new TeeError('ERR_TEE_MALFORMED', `NV index has ${size} bytes`)
  const parts: Uint8Array[] = []
  for (let offset = 0; offset < size; offset += nvChunk) {
    parts.push(await tpm.run(nvRead(index, offset, Math.min(nvChunk, size - offset))))
  }
  return concatBytes(...parts)
}

interface Hcl {
  readonly type: 'sev-snp' | 'tdx'
  readonly variableData: Uint8Array
  /** 64 bytes in lower-case hexadecimal; empty where none was ever written. */
  readonly userData: string
}

/** Throws FormatError. Only as far as collecting needs: the verifier reads the report strictly. */
function readHcl(report: Uint8Array): Hcl {
  const reader = new ByteReader(report)
  if (decodeUtf8(reader.take(4, 'signature'), 'signature') !== 'HCLA') throw new FormatError('signature', 'is not HCLA')
  reader.take(hardwareReportOffset - 4 + hardwareReportLength, 'header and hardware report')
  reader.take(8, 'data size and version')
  const type = reader.uint32le('report type')
  if (type !== 2 && type !== 4) throw new FormatError('report type', `is ${type}, expected 2 (SNP) or 4 (TDX)`)
  if (reader.uint32le('hash type') !== 1) throw new FormatError('hash type', 'is not SHA-256')
  const variableData = reader.take(reader.uint32le('variable data size'), 'variable data')
  const json = jsonObject(variableData, 'variable data')
  const userData = Object.hasOwn(json, 'user-data') ? textMember(json, 'user-data').toLowerCase() : ''
  return { type: type === 2 ? 'sev-snp' : 'tdx', variableData, userData }
}

/** A quote and the PCR values that it is over: read after it, and all again where one was extended in between. */
async function quoteWithPcrs(
  tpm: Tpm,
  binding: Uint8Array,
): Promise<{ message: Uint8Array; signature: Uint8Array; pcrs: Uint8Array }> {
  for (let attempt = 1; attempt <= tries; attempt++) {
    const { message, signature, pcrDigest } = await tpm.run(quote(attestationKey, binding, pcrIndexes))
    const pcrs = concatBytes(...(await readPcrs(tpm)))
    if (sha256(pcrs).toHex() === pcrDigest.toHex()) return { message, signature, pcrs }
  }
  throw new TeeError('ERR_TEE_BUSY', `the PCRs changed during each of ${tries} quotes`)
}

async function readPcrs(tpm: Tpm): Promise<Uint8Array[]> {
  const values = new Map<number, Uint8Array>()
  while (values.size < pcrIndexes.length) {
    const before = values.size
    const missing = pcrIndexes.filter((pcr) => !values.has(pcr)).slice(0, 8)
    for (const [pcr, value] of await tpm.run(pcrRead(missing))) values.set(pcr, value)
    if (values.size === before) throw new TeeError('ERR_TEE_REFUSED', 'the TPM has no SHA-256 bank of 24 PCRs')
  }
  return pcrIndexes.map((pcr) => values.get(pcr)!)
}

async function withTpm<T>(device: string, timeoutMs: number, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  const tpm = await openTpm(device, timeoutMs)
  try {
    return await work(tpm)
  } finally {
    await tpm.close()
  }
}
