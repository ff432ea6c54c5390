import { createHash, createPublicKey, sign } from 'node:crypto'
import { encodeUtf8 } from '@cella/bytes'
import { type CborKey, CborTag, type CborValue } from '@cella/cbor'
import { digestOf } from '@cella/primitives'
import type { AzureContainerGroupEvidenceEntry } from '../src/azure/container-group/entry.ts'
import type { AzureVmEvidenceEntry } from '../src/azure/vm/entry.ts'
import { CheckLog } from '../src/checks.ts'
import { issueCoseSign1 } from '../src/cose/issue.ts'
import { Endorsements } from '../src/endorsements.ts'
import type { VerifyContext } from '../src/family.ts'
import type { TrustedRoot } from '../src/roots.ts'
import type { Certificate } from '../src/x509/certificate.ts'
import { der, derOid, derTag } from '../src/x509/der.ts'
import { join, u32 } from './event-log.ts'
import { roots as intelRoots, issueTdx, type Build as TdBuild, td } from './intel-vendor.ts'
import { issueQuote, now, rsaAk, type WantedQuote } from './tpm-vendor.ts'
import { issueEvidence, type Build as SnpBuild, roots as snpRoots } from './vendor.ts'
import { type Ca, certify, extension, newCa, rootOf, usages } from './x509.ts'

// An Azure of our own: paravisor, virtual TPM, utility VM and its signer.

const zero = (length: number): Uint8Array => new Uint8Array(length)

export interface VmBuild {
  readonly tpm?: WantedQuote
  readonly snp?: SnpBuild
  readonly td?: TdBuild
  /** In place of the JSON of the paravisor. */
  readonly variableData?: Uint8Array
  readonly configuration?: { readonly [name: string]: unknown }
  readonly members?: { readonly [name: string]: unknown }
  /** Changes the HCL report after it was made. */
  readonly patch?: (report: Uint8Array) => void
  /** Report data of the hardware in place of the digest. */
  readonly reportData?: Uint8Array
  /** Changes the TDREPORT and not the quote. */
  readonly patchTdReport?: (report: Uint8Array) => void
  /** Bytes of zeros up to which the NV index is read. */
  readonly size?: number
  readonly hashType?: 1 | 2 | 3
}

export const akJwk = (): { kty?: string; n?: string; e?: string } => createPublicKey(rsaAk).export({ format: 'jwk' })

export function variableDataOf(build: VmBuild = {}): Uint8Array {
  const { n, e } = akJwk()
  const data = {
    keys: [
      { kid: 'HCLAkPub', key_ops: ['sign'], kty: 'RSA', e, n },
      { kid: 'HCLEkPub', key_ops: ['encrypt'], kty: 'RSA', e, n },
    ],
    'vm-configuration': {
      'console-enabled': false,
      'secure-boot': true,
      'tpm-enabled': true,
      'tpm-persisted': false,
      vmUniqueId: '2DEDC52A-6832-46CE-9910-E8C9980BF5A7',
      ...build.configuration,
    },
    'user-data': '00'.repeat(64),
    ...build.members,
  }
  return build.variableData ?? encodeUtf8(JSON.stringify(data))
}

function digestedBy(build: VmBuild, variableData: Uint8Array): Uint8Array {
  const hash = ['sha256', 'sha384', 'sha512'][(build.hashType ?? 1) - 1]!
  const digest = createHash(hash).update(variableData).digest()
  return build.reportData ?? join(digest, zero(64 - digest.length))
}

function hclReport(build: VmBuild, type: 2 | 4, hardware: Uint8Array, variableData: Uint8Array): Uint8Array {
  const report = join(
    encodeUtf8('HCLA'),
    u32(2),
    u32(1236 + variableData.length),
    u32(2),
    zero(16),
    hardware,
    zero(1184 - hardware.length),
    u32(20 + variableData.length),
    u32(1),
    u32(type),
    u32(build.hashType ?? 1),
    u32(variableData.length),
    variableData,
  )
  const whole = join(report, zero(Math.max(0, (build.size ?? 2600) - report.length)))
  build.patch?.(whole)
  return whole
}

const tpmParts = (build: VmBuild): Pick<AzureVmEvidenceEntry, 'quote' | 'signature' | 'pcrs'> =>
  issueQuote({ scheme: 'rsassa', banks: [{ hash: 'sha256', pcrs: [0, 1, 2, 3, 4, 5, 6, 7] }], ...build.tpm })

export async function issueSnpVm(build: VmBuild = {}): Promise<AzureVmEvidenceEntry> {
  const variableData = variableDataOf(build)
  const reportData = digestedBy(build, variableData)
  const { entries } = await issueEvidence({ ...build.snp, report: { reportData, ...build.snp?.report } })
  const { report, certificates } = entries[0]!
  return {
    role: 'cpu',
    format: 'azure-vm/1',
    hclReport: hclReport(build, 2, report, variableData),
    ...tpmParts(build),
    certificates,
  }
}

export async function issueTdVm(build: VmBuild = {}): Promise<AzureVmEvidenceEntry> {
  const variableData = variableDataOf(build)
  const reportData = digestedBy(build, variableData)
  const { quote } = await issueTdx({ ...build.td, td: { reportData, ...build.td?.td } })
  const info = [td.rawTdAttributes, td.rawXfam, td.mrTd, td.mrConfigId, td.mrOwner, td.mrOwnerConfig]
  const local = join(Uint8Array.of(0x81), zero(127), reportData, zero(64 + 256), ...info, zero(304))
  build.patchTdReport?.(local)
  return {
    role: 'cpu',
    format: 'azure-vm/1',
    hclReport: hclReport(build, 4, local, variableData),
    ...tpmParts(build),
    tdQuote: quote,
  }
}

export const uvmRoot: Ca = newCa('UVM root')
export const uvmIntermediate: Ca = newCa('UVM intermediate')
export const uvmLeaf: Ca = newCa('UVM signer')
export const uvmPurpose = '1.3.6.1.4.1.311.76.59.1.2'
export const rootCertificate: Certificate = certify(uvmRoot, uvmRoot)
export const intermediateCertificate: Certificate = certify(uvmIntermediate, uvmRoot, { serial: 2 })
export const purposes = (...oids: readonly string[]): Uint8Array =>
  extension('2.5.29.37', der(derTag.sequence, ...oids.map((oid) => derOid(oid))))
export const leafCertificate = (wanted: Parameters<typeof certify>[2] = {}): Certificate =>
  certify(uvmLeaf, uvmIntermediate, {
    serial: 3,
    ca: false,
    usage: usages.digitalSignature,
    extensions: [purposes(uvmPurpose)],
    ...wanted,
  })

export const didOf = (certificate: Certificate, purpose: string = uvmPurpose): string =>
  `did:x509:0:sha256:${createHash('sha256').update(certificate.der).digest('base64url')}::eku:${purpose}`

export interface UvmBuild {
  readonly issuer?: CborValue
  readonly feed?: CborValue
  readonly signingTime?: CborValue | null
  readonly chain?: readonly Certificate[]
  readonly chainIn?: 'protected' | 'unprotected'
  readonly payload?: Uint8Array
  readonly measurement?: string
  readonly svn?: unknown
  readonly key?: Ca
}

/** Microsoft's word on the utility VM of vendor.ts, whose measurement is 48 × 04. */
export async function issueUvm(build: UvmBuild = {}): Promise<Uint8Array> {
  const chain = build.chain ?? [leafCertificate(), intermediateCertificate, rootCertificate]
  const time = build.signingTime === undefined ? new CborTag(1, now - 10) : build.signingTime
  const payload = {
    'x-ms-sevsnpvm-guestsvn': build.svn === undefined ? '101' : build.svn,
    'x-ms-sevsnpvm-launchmeasurement': build.measurement ?? '04'.repeat(48),
  }
  const x5chain = [33, chain.map(({ der: bytes }) => bytes)] as const
  const headers: (readonly [CborKey, CborValue])[] = [
    [3, 'application/json'],
    ['iss', build.issuer ?? didOf(rootCertificate)],
    ['feed', build.feed ?? 'ContainerPlat-AMD-UVM'],
    ...(time === null ? [] : [['signingtime', time] as const]),
  ]
  const isProtected = build.chainIn !== 'unprotected'
  return issueCoseSign1({
    algorithm: -7,
    tagged: true,
    payload: build.payload ?? encodeUtf8(JSON.stringify(payload)),
    protected: new Map(isProtected ? [...headers, x5chain] : headers),
    unprotected: new Map(isProtected ? [] : [x5chain]),
    sign: (bytes) =>
      Uint8Array.from(sign('sha256', bytes, { key: (build.key ?? uvmLeaf).key, dsaEncoding: 'ieee-p1363' })),
  })
}

export const ccePolicy: Uint8Array = encodeUtf8('package policy\n')

export async function issueContainerGroup(
  build: { readonly snp?: SnpBuild; readonly uvm?: UvmBuild } = {},
): Promise<AzureContainerGroupEvidenceEntry> {
  const hostData = Uint8Array.from(createHash('sha256').update(ccePolicy).digest())
  const { entries } = await issueEvidence({ ...build.snp, report: { hostData, ...build.snp?.report } })
  const { report, certificates } = entries[0]!
  return {
    role: 'container-group',
    format: 'azure-container-group/1',
    report,
    certificates,
    policy: ccePolicy,
    uvmEndorsement: await issueUvm(build.uvm),
  }
}

export const uvmTrust: TrustedRoot = { ...rootOf(uvmRoot), tee: 'azure-container-group' }
export const azureRoots: readonly TrustedRoot[] = [...snpRoots, ...intelRoots, uvmTrust]

export function azureContext(options: Partial<VerifyContext> = {}): VerifyContext {
  return {
    roots: azureRoots,
    issuers: [],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
    ...options,
  }
}

export { digestOf, now }
