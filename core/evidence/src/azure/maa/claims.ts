import { decodeBase64url, encodeHex, FormatError, type Json } from '@cella/bytes'
import { type Claims, type TcbStatus, tcbStatuses } from '../../claims.ts'
import { EvidenceError } from '../../error.ts'
import type { EvidenceRole } from '../../evidence.ts'
import { type JsonObject, jsonObject, optionalText, requiredText } from '../../jwt/json.ts'
import type { Boundary } from '../../policy.ts'

/** The TEE that a token is about. */
type MaaTee = 'sevsnpvm' | 'tdxvm' | 'sgx'

export interface MaaClaims extends Claims {
  readonly tee: 'maa'
  readonly hardware: {
    /** `x-ms-attestation-type`: a TEE, or `azurevm` for a virtual machine whose TEE is in `isolation`. */
    readonly attestationType: MaaTee | 'azurevm'
    readonly isolation: MaaTee
    /** SHA-256 of the service's policy, base64url; who may sign such a policy. */
    readonly policyHash: string
    readonly complianceStatus: string | null
    readonly vmpl: number | null
    /** Security versions by name; what the TEE has none of is absent. */
    readonly svns: { readonly [name: string]: number }
    readonly issuedAt: number | null
    /** `azurevm`: `null` where the token does not say. */
    readonly secureBoot: boolean | null
    /** Any kind of debugging or test signing of the guest's OS is on. */
    readonly osDebug: boolean | null
    readonly vmId: string | null
    /** PCRs that the service looked at. */
    readonly attestedPcrs: readonly number[] | null
    /** What the attester bound, as the service passes it on. */
    readonly runtime: Json
  }
}

const svnNames: { readonly [Tee in MaaTee]: readonly (readonly [string, string])[] } = {
  sevsnpvm: [
    ['bootLoader', 'x-ms-sevsnpvm-bootloader-svn'],
    ['tee', 'x-ms-sevsnpvm-tee-svn'],
    ['snp', 'x-ms-sevsnpvm-snpfw-svn'],
    ['microcode', 'x-ms-sevsnpvm-microcode-svn'],
    ['guest', 'x-ms-sevsnpvm-guestsvn'],
  ],
  tdxvm: [],
  sgx: [['enclave', 'x-ms-sgx-svn']],
}

/** Ways in which a guest's OS can be looked into; `true` is a finding. */
const osDebugClaims = [
  'x-ms-azurevm-bootdebug-enabled',
  'x-ms-azurevm-hypervisordebug-enabled',
  'x-ms-azurevm-kerneldebug-enabled',
  'x-ms-azurevm-testsigning-enabled',
  'x-ms-azurevm-flightsigning-enabled',
]

/**
 * The claims of a token, mapped onto the common ones. Throws EvidenceError: ERR_EVIDENCE_MALFORMED for a claim that is
 * missing or not of its kind, ERR_EVIDENCE_UNSUPPORTED for a token about something else than SEV-SNP, TDX and SGX, a
 * trusted-launch VM without a TEE among them.
 */
export function maaClaims(
  claims: JsonObject,
  { role, simulated }: { role: EvidenceRole; simulated: boolean },
): MaaClaims {
  const type = requiredText(claims, 'x-ms-attestation-type', 'token')
  const vm = type === 'azurevm'
  const inner = vm ? isolationOf(claims) : claims
  const tee = teeOf(vm ? requiredText(inner, 'x-ms-attestation-type', 'x-ms-isolation-tee') : type)
  const complianceStatus = optionalText(inner, 'x-ms-compliance-status', 'token') ?? null
  const runtime = claims['x-ms-runtime'] ?? null
  const said = { sevsnpvm: snpSays, tdxvm: tdxSays, sgx: sgxSays }[tee](inner)
  const svns = Object.fromEntries(
    svnNames[tee].map(([name, claim]) => [name, integer(inner, claim, 0xffffffff)] as const),
  )
  const pcrs = claims['x-ms-azurevm-attested-pcrs']
  return {
    tee: 'maa',
    role,
    ...said,
    boundary: boundaryOf(tee, complianceStatus),
    // The report data of a VM's TEE are its paravisor's; the caller's are in the runtime data.
    reportData: vm ? clientNonce(runtime) : said.reportData,
    platformId: null,
    tcb: { status: statusOf(inner), advisories: [], levels: svns, date: null, evaluation: null },
    simulated,
    hardware: {
      attestationType: vm ? 'azurevm' : tee,
      isolation: tee,
      policyHash: requiredText(claims, 'x-ms-policy-hash', 'token'),
      complianceStatus,
      vmpl: tee === 'sevsnpvm' ? integer(inner, 'x-ms-sevsnpvm-vmpl', 3) : null,
      svns,
      issuedAt: claims.iat === undefined ? null : integer(claims, 'iat', Number.MAX_SAFE_INTEGER),
      secureBoot: claims.secureboot === undefined ? null : flag(claims, 'secureboot'),
      osDebug: vm ? osDebugClaims.some((name) => claims[name] !== undefined && flag(claims, name)) : null,
      vmId: optionalText(claims, 'x-ms-azurevm-vmid', 'token') ?? null,
      attestedPcrs: pcrs === undefined ? null : pcrList(pcrs),
      runtime,
    },
  }
}

function isolationOf(claims: JsonObject): JsonObject {
  if (claims['x-ms-isolation-tee'] === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      'token: is of a VM without x-ms-isolation-tee: a trusted launch, which no TEE protects',
    )
  }
  return jsonObject(claims['x-ms-isolation-tee'], 'x-ms-isolation-tee')
}

function teeOf(type: string): MaaTee {
  if (type === 'sevsnpvm' || type === 'tdxvm' || type === 'sgx') return type
  throw new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `token x-ms-attestation-type: is ${type.slice(0, 40)}; read are sevsnpvm, tdxvm, sgx, and azurevm on one of them`,
  )
}

type Said = Pick<Claims, 'measurement' | 'measurements' | 'hostData' | 'reportData' | 'provider' | 'debug'>

function snpSays(claims: JsonObject): Said {
  const measurement = hex(claims, 'x-ms-sevsnpvm-launchmeasurement', 48)
  return {
    measurement,
    measurements: { measurement },
    hostData: hex(claims, 'x-ms-sevsnpvm-hostdata', 32),
    reportData: hex(claims, 'x-ms-sevsnpvm-reportdata', 64),
    provider: null,
    debug: flag(claims, 'x-ms-sevsnpvm-is-debuggable'),
  }
}

function tdxSays(claims: JsonObject): Said {
  const measurement = hex(claims, 'tdx_mrtd', 48)
  const rtmrs = [0, 1, 2, 3].map((at) => [`rtmr${at}`, hex(claims, `tdx_rtmr${at}`, 48)] as const)
  return {
    measurement,
    measurements: { mrtd: measurement, ...Object.fromEntries(rtmrs) },
    hostData: hex(claims, 'tdx_mrconfigid', 48),
    reportData: hex(claims, 'tdx_report_data', 64),
    provider: null,
    debug: flag(claims, 'tdx_td_attributes_debug'),
  }
}

function sgxSays(claims: JsonObject): Said {
  const measurement = hex(claims, 'x-ms-sgx-mrenclave', 32)
  const signer = hex(claims, 'x-ms-sgx-mrsigner', 32)
  const reportData = claims['x-ms-sgx-report-data']
  return {
    measurement,
    measurements: { mrenclave: measurement, mrsigner: signer },
    hostData: null,
    // The service checks it against the enclave-held data and passes those on.
    reportData: reportData === undefined ? null : hex(claims, 'x-ms-sgx-report-data', 64),
    provider: signer,
    debug: flag(claims, 'x-ms-sgx-is-debuggable'),
  }
}

function boundaryOf(tee: MaaTee, complianceStatus: string | null): Boundary {
  if (tee === 'sgx') return 'process'
  return complianceStatus === 'azure-compliant-uvm' ? 'container-group' : 'vm'
}

/** Intel's rating, which tokens about TDX carry. */
function statusOf(claims: JsonObject): TcbStatus | null {
  const status = optionalText(claims, 'attester_tcb_status', 'token')
  if (status === undefined) return null
  const known = tcbStatuses.find((name) => name === status)
  if (known === undefined) throw new FormatError('token attester_tcb_status', 'is no status of Intel’s')
  return known
}

/** What the caller gave as nonce: Azure's guest library puts it, in base64url, into the runtime data. */
function clientNonce(runtime: Json): string | null {
  if (runtime === null) return null
  const payload = jsonObject(runtime, 'x-ms-runtime')['client-payload']
  if (payload === undefined) return null
  const nonce = optionalText(jsonObject(payload, 'client-payload'), 'nonce', 'client-payload') ?? ''
  if (nonce === '') return null
  return encodeHex(decodeBase64url(nonce.replace(/={1,2}$/, ''), 'client-payload.nonce'))
}

function hex(claims: JsonObject, name: string, length: number): string {
  const text = requiredText(claims, name, 'token').toLowerCase()
  if (text.length !== 2 * length || !/^[0-9a-f]+$/.test(text)) {
    throw new FormatError(`token ${name}`, `is not ${length} bytes in hexadecimal`)
  }
  return text
}

function flag(claims: JsonObject, name: string): boolean {
  const value = claims[name]
  if (typeof value !== 'boolean') throw new FormatError(`token ${name}`, 'is missing or no boolean')
  return value
}

function integer(claims: JsonObject, name: string, max: number): number {
  const value = claims[name]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new FormatError(`token ${name}`, `is missing or no integer from 0 to ${max}`)
  }
  return value
}

function pcrList(value: Json): number[] {
  const list = Array.isArray(value) ? value : [value]
  return list.map((pcr) => integer({ pcr }, 'pcr', 23))
}
