import { canonicalJson, decodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { Family, VerifiedEntry, VerifyContext } from '../family.ts'
import { type JsonObject, jsonObject, parseForeignJson, requiredText } from '../jwt/json.ts'
import { type VerifiedJwt, verifyJwt } from '../jwt/jwt.ts'
import { appraiseNras, checkNrasPolicy, type NrasPolicy } from './nras-policy.ts'

export const nrasFormat = 'nras/1'
const bundleBytesMax = 524_288
const deviceCountMax = 16
const subject = 'NVIDIA-PLATFORM-ATTESTATION'
const algorithms = ['ES384'] as const
/** 2.0 is what the service answers with when nobody asks for another. */
const claimsVersions = ['2.0', '3.0'] as const
type ClaimsVersion = (typeof claimsVersions)[number]

/** What NVIDIA's Remote Attestation Service answered: a detached EAT bundle. */
export interface NrasEntry {
  readonly role: EvidenceRole
  readonly format: typeof nrasFormat
  /** `[["JWT", overall token], {"GPU-0": token, …}]`, the exact JSON text. */
  readonly bundle: string
}

/** What one token of the bundle says about its device. */
interface NrasDevice {
  readonly name: string
  readonly kind: 'gpu' | 'nvswitch'
  /** `GH100 A01 GSP BROM`. */
  readonly model: string
  /** The serial number of the device's certificate, hexadecimal. */
  readonly serial: string
  readonly driverVersion: string | null
  readonly vbiosVersion: string
  /** Of the checks that NVIDIA's claims name, those that are not `true`, and chains that are not valid and good. */
  readonly failed: readonly string[]
  /** NVIDIA compared the measurements with its manifests, and they are equal. */
  readonly measurementsMatch: boolean
  readonly debug: boolean
}

export interface VerifiedNras extends VerifiedEntry {
  readonly format: typeof nrasFormat
  /** NVIDIA's own verdict over all devices. */
  readonly result: boolean
  readonly devices: readonly NrasDevice[]
}

/** The NRAS part of docs/formats/evidence-nvidia.md. Throws EvidenceError at the first check that fails. */
async function verifyNras(entry: NrasEntry, context: VerifyContext): Promise<VerifiedNras> {
  const { checks, issuers, now } = context
  const { overall, tokens } = reading(() => parseBundle(entry.bundle))
  const options = { issuers, tee: 'nras', algorithms, now, expiry: 'required' } as const
  const whole = await verifyJwt(overall, options)
  checks.passed('nras-token', `signed by ${whole.issuer.issuer}`)
  const claims = reading(() => readOverall(whole.claims))
  reading(() => checkDigests(claims.digests, tokens))
  checks.passed('nras-binding', 'each device’s token by its SHA-256 in the overall one', `${tokens.size} devices`)
  const verified: VerifiedJwt[] = [whole]
  const devices: NrasDevice[] = []
  for (const [name, token] of tokens) {
    const jwt = await verifyJwt(token, options)
    if (jwt.issuer.issuer !== whole.issuer.issuer) {
      throw new EvidenceError('ERR_EVIDENCE_BINDING', `${name}: is of another issuer than the overall token`)
    }
    reading(() => refuseUnjudged(name, jwt.claims))
    if (jwt.claims.eat_nonce !== claims.nonce) {
      throw new EvidenceError('ERR_EVIDENCE_BINDING', `${name}: is about another nonce than the overall token`)
    }
    devices.push(reading(() => readDevice(name, jwt.claims, claims.version)))
    verified.push(jwt)
  }
  checks.passed('nras-devices', 'each token signed, of the same nonce', `${devices.length} devices`)
  const serials = [...new Set(devices.map(({ serial }) => serial))]
  if (serials.length !== devices.length) {
    throw new EvidenceError('ERR_EVIDENCE_BINDING', 'bundle: counts a device twice')
  }
  const simulated = verified.some((jwt) => jwt.simulated)
  const versions = devices.map(({ model, driverVersion, vbiosVersion }) => [model, driverVersion, vbiosVersion])
  return {
    format: nrasFormat,
    role: entry.role,
    claims: {
      tee: 'nras',
      role: entry.role,
      boundary: null,
      // The tokens name no code by its digest: this is SHA-256 of the versions that they name.
      measurement: digestOf(encodeUtf8(canonicalJson(versions))),
      measurements: {},
      hostData: null,
      reportData: claims.nonce,
      platformId: serials.length === 1 ? serials[0]! : null,
      provider: null,
      tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
      debug: devices.some(({ debug }) => debug),
      simulated,
      hardware: { issuer: whole.issuer.issuer, result: claims.result, devices: devices as unknown as Json },
    },
    root: undefined,
    simulated,
    notBefore: Math.max(...verified.map(({ notBefore, issuedAt }) => Math.max(notBefore ?? 0, issuedAt ?? 0))),
    notAfter: Math.min(...verified.map(({ expiresAt }) => expiresAt! - 1)),
    collateralIssuedAt: undefined,
    verifiedAt: now,
    result: claims.result,
    devices,
  }
}

/** A detached EAT bundle (RFC 9711 §5). The tokens are not looked into. Throws FormatError. */
export function parseBundle(text: string): { overall: string; tokens: ReadonlyMap<string, string> } {
  const bundle = parseForeignJson(encodeUtf8(text), 'bundle', bundleBytesMax)
  if (!Array.isArray(bundle) || bundle.length !== 2) throw new FormatError('bundle', 'is not a list of two')
  const [head, submods] = bundle as Json[]
  if (!Array.isArray(head) || head.length !== 2 || head[0] !== 'JWT' || typeof head[1] !== 'string') {
    throw new FormatError('bundle[0]', 'is not a JWT with its kind')
  }
  const tokens = new Map<string, string>()
  for (const [name, token] of Object.entries(jsonObject(submods, 'bundle[1]'))) {
    if (!/^(?:GPU|SWITCH)-[0-9]{1,3}$/.test(name))
      throw new FormatError('bundle[1]', 'has a name other than GPU-0, SWITCH-0 …')
    if (typeof token !== 'string') throw new FormatError(`bundle[1].${name}`, 'is not a token')
    tokens.set(name, token)
  }
  if (tokens.size === 0 || tokens.size > deviceCountMax) {
    throw new FormatError('bundle[1]', `has ${tokens.size} devices, expected 1 to ${deviceCountMax}`)
  }
  return { overall: head[1], tokens }
}

interface Overall {
  readonly version: ClaimsVersion
  readonly nonce: string
  readonly result: boolean
  readonly digests: ReadonlyMap<string, string>
}

function readOverall(claims: JsonObject): Overall {
  const field = 'overall token'
  if (claims.sub !== subject) throw new FormatError(`${field}.sub`, `is not ${subject}`)
  const found = requiredText(claims, 'x-nvidia-ver', field)
  const version = claimsVersions.find((known) => known === found)
  if (version === undefined) {
    const shown = found.replace(/[^0-9.]/g, '?').slice(0, 12)
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      `${field}: has claims of version ${shown}; read are ${claimsVersions.join(' and ')}`,
    )
  }
  const result = claims['x-nvidia-overall-att-result']
  if (typeof result !== 'boolean') throw new FormatError(`${field}.x-nvidia-overall-att-result`, 'is not true or false')
  const nonce = requiredText(claims, 'eat_nonce', field)
  if (decodeHex(nonce, `${field}.eat_nonce`).length !== 32)
    throw new FormatError(`${field}.eat_nonce`, 'is not 32 bytes')
  const digests = new Map<string, string>()
  for (const [name, value] of Object.entries(jsonObject(claims.submods, `${field}.submods`))) {
    const [kind, digest] = Array.isArray(value) ? value : []
    const [algorithm, hex] = Array.isArray(digest) ? digest : []
    if (kind !== 'DIGEST' || algorithm !== 'SHA-256' || typeof hex !== 'string' || !/^[0-9a-f]{64}$/.test(hex)) {
      throw new FormatError(`${field}.submods`, 'has one that is not a SHA-256 digest')
    }
    digests.set(name, hex)
  }
  return { version, nonce, result, digests }
}

function checkDigests(digests: ReadonlyMap<string, string>, tokens: ReadonlyMap<string, string>): void {
  const names = [...tokens.keys()]
  if (digests.size !== tokens.size || !names.every((name) => digests.has(name))) {
    throw new EvidenceError('ERR_EVIDENCE_BINDING', 'overall token: names other devices than there are tokens')
  }
  for (const [name, token] of tokens) {
    if (digestOf(encodeUtf8(token)) !== digests.get(name)) {
      throw new EvidenceError('ERR_EVIDENCE_BINDING', `${name}: is not the token whose digest the overall one has`)
    }
  }
}

// Names after `x-nvidia-gpu-` or `x-nvidia-switch-`. NVIDIA Attestation, claims guide, versions 2.0 and 3.0.
const reportChecks = ['parsed', 'signature-verified', 'nonce-match'].map((check) => `attestation-report-${check}`)
const manifestChecks = ['fetched', 'schema-validated', 'signature-verified', 'measurements-available']
const manifests = { gpu: ['driver-rim', 'vbios-rim'], nvswitch: ['bios-rim'] } as const

/** Claims that have to be `true`. */
function namedChecks(kind: NrasDevice['kind'], version: ClaimsVersion): string[] {
  const [ofReport, ofManifest] =
    version === '2.0'
      ? (['attestation-report-cert-chain-validated', 'cert-validated'] as const)
      : (['attestation-report-cert-chain-fwid-match', 'version-match'] as const)
  return [
    ...reportChecks,
    ofReport,
    'arch-check',
    ...(kind === 'gpu' ? ['vbios-index-no-conflict'] : []),
    ...manifests[kind].flatMap((manifest) => [...manifestChecks, ofManifest].map((check) => `${manifest}-${check}`)),
  ]
}

/**
 * Claims of version 3.0 that say how a chain stands. NVIDIA's verdict over all can be good although a certificate is on
 * hold: whoever asked may have allowed it.
 */
function namedChains(kind: NrasDevice['kind'], version: ClaimsVersion): string[] {
  return version === '2.0' ? [] : ['attestation-report', ...manifests[kind]].map((of) => `${of}-cert-chain`)
}

function isGoodChain(claim: Json | undefined): boolean {
  if (typeof claim !== 'object' || claim === null || Array.isArray(claim)) return false
  const { 'x-nvidia-cert-status': status, 'x-nvidia-cert-ocsp-status': ocsp } = claim as JsonObject
  return status === 'valid' && ocsp === 'good'
}

function refuseUnjudged(name: string, claims: JsonObject): void {
  if (!Object.hasOwn(claims, 'x-nvidia-error-details')) return
  const details = JSON.stringify(claims['x-nvidia-error-details']).replace(/[^\x20-\x7e]/g, '?')
  throw new FormatError(name, `has no verdict, NVIDIA’s service could not judge it: ${details.slice(0, 200)}`)
}

function readDevice(name: string, claims: JsonObject, version: ClaimsVersion): NrasDevice {
  const kind = name.startsWith('GPU') ? 'gpu' : 'nvswitch'
  const prefix = kind === 'gpu' ? 'x-nvidia-gpu-' : 'x-nvidia-switch-'
  const ueid = requiredText(claims, 'ueid', name)
  if (!/^[1-9][0-9]{0,48}$/.test(ueid)) throw new FormatError(`${name}.ueid`, 'is not a number of at most 20 bytes')
  const hex = BigInt(ueid).toString(16)
  const named = namedChecks(kind, version).map((check) => `${prefix}${check}`)
  const chains = namedChains(kind, version).map((chain) => `${prefix}${chain}`)
  const has = (claim: string): Json | undefined => (Object.hasOwn(claims, claim) ? claims[claim] : undefined)
  const release = (of: string): string => {
    const text = requiredText(claims, `${prefix}${of}-version`, name)
    if (!/^[0-9A-Za-z.]{1,32}$/.test(text)) throw new FormatError(`${name} ${of} version`, 'is not one')
    return text
  }
  const model = requiredText(claims, 'hwmodel', name)
  if (!/^[\x20-\x7e]{1,64}$/.test(model)) throw new FormatError(`${name}.hwmodel`, 'is not printable')
  return {
    name,
    kind,
    model,
    serial: hex.padStart(hex.length + (hex.length % 2), '0'),
    driverVersion: kind === 'gpu' ? release('driver') : null,
    vbiosVersion: release(kind === 'gpu' ? 'vbios' : 'bios'),
    failed: [
      ...[...named, 'secboot'].filter((check) => has(check) !== true),
      ...chains.filter((chain) => !isGoodChain(has(chain))),
    ],
    measurementsMatch: claims.measres === 'success',
    debug: claims.dbgstat !== 'disabled',
  }
}

/** Verdicts of NVIDIA's Remote Attestation Service about GPUs and NVSwitches, by a TrustedIssuer of `nras`. */
export const nrasFamily: Family<typeof nrasFormat, NrasEntry, VerifiedNras, NrasPolicy> = {
  format: nrasFormat,
  tee: 'nras',
  fields: { bundle: 'text' },
  verify: verifyNras,
  checkPolicy: checkNrasPolicy,
  appraise: appraiseNras,
}

/** Evidence of what NRAS answered, as it came. Throws EvidenceError. */
export function nrasEvidenceOf(bundle: string): NrasEntry {
  reading(() => parseBundle(bundle))
  return { role: 'gpu', format: nrasFormat, bundle }
}

/** Names text that looks like such a bundle, without verifying it. */
export function recogniseNras(bytes: Uint8Array): string | undefined {
  const start = String.fromCharCode(...bytes.subarray(0, 64)).replace(/\s/g, '')
  return start.startsWith('[["JWT","eyJ') ? 'a verdict of NVIDIA’s Remote Attestation Service (NRAS)' : undefined
}
