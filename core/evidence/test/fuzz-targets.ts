import { createECDH } from 'node:crypto'
import { concatBytes, decodeUtf8, encodeBase64, encodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { CborTag, type CborValue, decodeCbor, encodeCbor } from '@cella/cbor'
import { digestOf, ed25519PublicKey, ed25519Sign, hmacSha512 } from '@cella/primitives'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { parseCcaToken } from '../src/arm/cca-token.ts'
import { parsePsaToken } from '../src/arm/psa-token.ts'
import { ccaEvidenceOf, psaEvidenceOf, recogniseArm } from '../src/arm/readers.ts'
import { parseDidX509 } from '../src/azure/container-group/did-x509.ts'
import {
  azureContainerGroupEvidenceOf,
  azureContainerGroupEvidenceOfTexts,
  recogniseAzureContainerGroupJson,
  recogniseUvmEndorsement,
} from '../src/azure/container-group/readers.ts'
import { maaEvidenceOf, recogniseMaa } from '../src/azure/maa/family.ts'
import { parseHclReport } from '../src/azure/vm/hcl.ts'
import {
  azureVmEvidenceOf,
  azureVmEvidenceOfTrustee,
  recogniseAzureVm,
  recogniseAzureVmJson,
} from '../src/azure/vm/readers.ts'
import { parseTdHardwareReport } from '../src/azure/vm/td-hardware-report.ts'
import { ChainCache } from '../src/cache.ts'
import { CheckLog } from '../src/checks.ts'
import { type Cmw, cmwOfCertificate, encodeCmw, parseCmw, parseCmwJson } from '../src/cmw/cmw.ts'
import { recogniseCmw } from '../src/cmw/evidence.ts'
import { encodeCollateral, readCollateral } from '../src/collateral/read.ts'
import { parseComid } from '../src/corim/comid.ts'
import { type Corim, readCorim, verifyCorim } from '../src/corim/corim.ts'
import { issueCoseSign1 } from '../src/cose/issue.ts'
import { parseCoseEc2Key } from '../src/cose/key.ts'
import { coseSignedBytes, parseCoseSign1 } from '../src/cose/sign1.ts'
import { readEarCbor, readEarJson } from '../src/ear/result.ts'
import { earEvidenceOf } from '../src/ear/verify.ts'
import { Endorsements } from '../src/endorsements.ts'
import { EvidenceError } from '../src/error.ts'
import { parseCcEventLog, parseTcgEventLog, recogniseEventLog } from '../src/event-log/parse.ts'
import { encodeEvidence, evidenceJson } from '../src/evidence.ts'
import { measuredBytes } from '../src/ibm-se/answer.ts'
import { hostKeyHash } from '../src/ibm-se/host-key.ts'
import { ibmSeEvidenceOfTrustee, recogniseIbmSe } from '../src/ibm-se/readers.ts'
import type { IbmSeRequest } from '../src/ibm-se/request.ts'
import { parseEnclaveIdentity } from '../src/intel/enclave-identity.ts'
import { parsePckClaims } from '../src/intel/pck.ts'
import { parseIntelQuote } from '../src/intel/quote.ts'
import { intelEvidenceOfCertificate, recogniseRaTls } from '../src/intel/ra-tls.ts'
import {
  intelEndorsementsOf,
  intelEvidenceOf,
  intelEvidenceOfOpenEnclaveJson,
  intelEvidenceOfText,
  intelEvidenceOfTrustee,
  recogniseIntelQuote,
} from '../src/intel/readers.ts'
import { parseSgxReport } from '../src/intel/sgx-report.ts'
import { parseTcbInfo } from '../src/intel/tcb-info.ts'
import { parseTdReport } from '../src/intel/td-report.ts'
import { jsonObject, parseForeignJson } from '../src/jwt/json.ts'
import { jwksKeysFor } from '../src/jwt/jwks.ts'
import { parseJwt } from '../src/jwt/jwt.ts'
import { parseNitroDocument } from '../src/nitro/document.ts'
import {
  nitroEvidenceOf,
  nitroEvidenceOfBase64,
  nitroEvidenceOfDstack,
  nitroEvidenceOfNsmResponse,
  recogniseNitro,
} from '../src/nitro/readers.ts'
import { readIdentity } from '../src/nvidia/identity.ts'
import { nrasEvidenceOf, parseBundle, recogniseNras } from '../src/nvidia/nras.ts'
import { parseOcspResponse } from '../src/nvidia/ocsp.ts'
import { readOpaque } from '../src/nvidia/opaque.ts'
import {
  nvidiaEvidenceOf,
  nvidiaEvidenceOfNvat,
  nvidiaEvidenceOfNvtrust,
  nvidiaEvidenceOfTrustee,
  recogniseNvidia,
} from '../src/nvidia/readers.ts'
import { parseSpdmReport } from '../src/nvidia/report.ts'
import { readRims } from '../src/nvidia/rim.ts'
import { readRim } from '../src/nvidia/rim-document.ts'
import type { VerifiedRim } from '../src/nvidia/rims.ts'
import { appraisalPolicyJson, parseAppraisalPolicy } from '../src/policy-json.ts'
import { presets } from '../src/presets.ts'
import { recogniseEvidence } from '../src/recognise.ts'
import { parseVekClaims } from '../src/sev-snp/certificates.ts'
import { parseCertificateTable, snpEvidenceOf, snpEvidenceOfTsm } from '../src/sev-snp/readers.ts'
import { encodeSnpReport, parseSnpReport } from '../src/sev-snp/report.ts'
import { parseTcb } from '../src/sev-snp/tcb.ts'
import { snpEvidenceOfTrustee } from '../src/sev-snp/trustee.ts'
import { encodeSignerStatement, parseSignerStatement } from '../src/signer-statement.ts'
import { parseTpmQuote } from '../src/tpm/attest.ts'
import { readQuote } from '../src/tpm/quote.ts'
import {
  recogniseTpm,
  recogniseTpmJson,
  tpmEvidenceOfEnactTrust,
  tpmEvidenceOfGoAttestation,
  tpmEvidenceOfGoTpmTools,
  tpmEvidenceOfTrustee,
} from '../src/tpm/readers.ts'
import { parseTpmSignature } from '../src/tpm/signature.ts'
import { evidenceOfTsm, recogniseTsm } from '../src/tsm.ts'
import type { VerifiedEvidence } from '../src/verifier.ts'
import { parseEvidence, parseEvidenceJson, verifyEvidence } from '../src/verify.ts'
import { parseCertificate } from '../src/x509/certificate.ts'
import { parseCrl } from '../src/x509/crl.ts'
import { DerReader } from '../src/x509/der.ts'
import { parsePemCertificates } from '../src/x509/pem.ts'
import { encodeTime, parseTime } from '../src/x509/time.ts'
import * as forms from './foreign-forms.ts'
import { readRaTlsSamples, readRimSample, readSamples, type Sample } from './samples.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const samples = readSamples()
const rim = readRimSample()
const now = samples[0]!.now
type Fields = { readonly [name: string]: Uint8Array | readonly Uint8Array[] | string }
const entryOf = (name: string): Fields =>
  samples.find((sample) => sample.name === name)!.evidence.entries[0]! as unknown as Fields
const bytesOf = (name: string, field: string): Uint8Array => entryOf(name)[field] as Uint8Array
const listOf = (name: string, field: string): readonly Uint8Array[] => entryOf(name)[field] as readonly Uint8Array[]
const textOf = (name: string, field: string): string => entryOf(name)[field] as string
const endorsementsOf = (kind: string): Uint8Array[] =>
  samples
    .flatMap(({ evidence }) => evidence.endorsements ?? [])
    .flatMap((one) => (one.kind === kind ? [one.content] : []))

const report = bytesOf('sev-snp/1', 'report')
const certificates = listOf('sev-snp/1', 'certificates')
const sgx = bytesOf('sgx/1', 'quote')
const tdx = bytesOf('tdx/1', 'quote')
const ccLog = bytesOf('tdx/1', 'eventLog')
const nitro = bytesOf('nitro/1', 'document')
const tpm = entryOf('tpm/1') as unknown as forms.TpmParts
const tcgLog = bytesOf('tpm/1', 'eventLog')
const azureSnp = entryOf('azure-vm/1 on SNP') as unknown as forms.AzureParts
const azureTdx = entryOf('azure-vm/1 on TDX') as unknown as forms.AzureParts
const azureCertificates = listOf('azure-vm/1 on SNP', 'certificates')
const tdQuote = bytesOf('azure-vm/1 on TDX', 'tdQuote')
const uvm = bytesOf('azure-container-group/1', 'uvmEndorsement')
const policy = bytesOf('azure-container-group/1', 'policy')
const gpu = bytesOf('nvidia-gpu/1', 'report')
const gpuChain = listOf('nvidia-gpu/1', 'certificates')
const cca = bytesOf('cca/1', 'token')
const psa = bytesOf('psa/1', 'token')
const maa = textOf('maa/1', 'token')
const nras = textOf('nras/1', 'bundle')
const ear = bytesOf('ear/1 as JWT', 'token')
const cwt = bytesOf('ear/1 as CWT', 'token')
const pcks = parseIntelQuote(sgx).certification
const pckChain = pcks.kind === 'pem' ? decodeUtf8(pcks.pem, 'chain').replace(/\0$/, '') : ''
const [pck] = parsePemCertificates(pckChain, 'chain')
const raTls = readRaTlsSamples()
const hash = (value: number): Uint8Array => new Uint8Array(32).fill(value)
const comid = encodeCbor(
  new Map([
    [1, new Map([[0, 'tag']])],
    [
      4,
      new Map([
        [
          0,
          [
            [
              new Map([[0, new Map([[0, new CborTag(560, hash(1))]])]]),
              [new Map([[1, new Map([[2, [[1, hash(2)]]]])]])],
            ],
          ],
        ],
      ]),
    ],
  ] as never),
)
const corim = encodeCbor(
  new CborTag(
    501,
    new Map([
      [0, 'id'],
      [1, [new CborTag(506, comid)]],
    ] as never),
  ),
)
const coseKey = encodeCbor(
  new Map<number, number | Uint8Array>([
    [1, 2],
    [-1, 1],
    [-2, tpm.key.slice(-64, -32)],
    [-3, tpm.key.slice(-32)],
  ]),
)
const record = { kind: 'record', type: 'application/vnd.a', value: hash(3), indicator: 4 } as Cmw
const collection: Cmw = { kind: 'collection', type: undefined, items: new Map([['a', record]]) }
const wrappers = (['json', 'cbor'] as const).flatMap((form) => [encodeCmw(collection, form), encodeCmw(record, form)])
const tsmReports = forms.tsmReports(report, forms.tsmTable(certificates))
const earClaims = encodeUtf8(JSON.stringify(parseJwt(decodeUtf8(ear, 'token')).claims))
const ofJson = (bytes: Uint8Array): Json => parseForeignJson(bytes, 'JSON', 1_000_000)
/** As detection reads it: `undefined` for what is none. */
function laxJson(bytes: Uint8Array): Json | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}
const cborOf = (bytes: Uint8Array, bytesMax = 1_000_000) => decodeCbor(bytes, 'CBOR', { bytesMax })
const collateral = encodeCollateral(
  samples.flatMap(({ evidence }) => evidence.endorsements ?? []).filter(({ kind }) => kind !== 'public-key'),
)
const intelCollateral = intelCollateralJson()

/** Of Intel's library. */
function intelCollateralJson(): Uint8Array {
  const tcb = decodeUtf8(endorsementsOf('tcb-info')[0]!, 'TCB info')
  const qe = decodeUtf8(endorsementsOf('enclave-identity')[0]!, 'identity')
  const [rootCrl, pckCrl] = endorsementsOf('crl').map((crl) => encodeHex(crl))
  const [root, signing] = endorsementsOf('certificate') as [Uint8Array, Uint8Array]
  const json = {
    pck_crl_issuer_chain: pckChain.slice(pckChain.indexOf('-----BEGIN', 10)),
    root_ca_crl: rootCrl!,
    pck_crl: pckCrl!,
    tcb_info_issuer_chain: decodeUtf8(forms.pemOf(signing, root), 'chain'),
    tcb_info: tcb.slice('{"tcbInfo":'.length, -144),
    tcb_info_signature: tcb.slice(-130, -2),
    qe_identity_issuer_chain: decodeUtf8(forms.pemOf(signing, root), 'chain'),
    qe_identity: qe.slice('{"enclaveIdentity":'.length, -144),
    qe_identity_signature: qe.slice(-130, -2),
  }
  return encodeUtf8(JSON.stringify(json))
}

const corimSeed = new Uint8Array(32).fill(6)
const corimSigner = concatBytes(Uint8Array.fromHex('302a300506032b6570032100'), ed25519PublicKey(corimSeed))
const signedCorim = await issueCoseSign1({
  algorithm: -8,
  payload: corim,
  tagged: true,
  protected: new Map<number, CborValue>([
    [3, 'application/rim+cbor'],
    [8, encodeCbor(new Map([[0, new Map([[0, 'ACME']])]]))],
  ]),
  sign: (bytes) => ed25519Sign(corimSeed, bytes),
})

// Functions inside of the package may throw the readers' FormatError: whoever calls them makes it an EvidenceError.
const inner = { errors: [EvidenceError, FormatError] }
const outer = { errors: [EvidenceError] }
const text =
  (run: (text: string) => unknown) =>
  (bytes: Uint8Array): unknown =>
    run(new TextDecoder().decode(bytes))

const parsers: readonly FuzzTarget[] = [
  {
    name: 'parseCoseSign1',
    seeds: [nitro, psa, uvm, cwt],
    run: (bytes) => coseSignedBytes(parseCoseSign1(bytes, 'COSE', { bytesMax: 100_000 })),
    ...inner,
  },
  { name: 'parseCoseEc2Key', seeds: [coseKey], run: (bytes) => parseCoseEc2Key(bytes, 'key'), ...inner },
  {
    name: 'parseCertificate',
    seeds: [...certificates, pck!, ...gpuChain],
    run: (bytes) => parseCertificate(bytes, 'certificate'),
    ...inner,
  },
  {
    name: 'parseVekClaims',
    seeds: certificates.slice(0, 1),
    run: (bytes) => parseVekClaims(parseCertificate(bytes, 'certificate'), 'vcek'),
    ...inner,
  },
  { name: 'parsePckClaims', seeds: [pck!], run: (bytes) => parsePckClaims(parseCertificate(bytes, 'PCK')), ...inner },
  {
    name: 'readIdentity',
    seeds: [concatBytes(gpuChain[0]!)],
    run: (bytes) => readIdentity(parseCertificate(bytes, 'leaf'), parseCertificate(gpuChain[1]!, 'issuer')),
    ...inner,
  },
  {
    name: 'parsePemCertificates',
    seeds: [forms.pemOf(...certificates), encodeUtf8(pckChain)],
    run: text((pem) => parsePemCertificates(pem, 'chain')),
    ...inner,
  },
  {
    name: 'parseTime',
    seeds: [encodeTime(now), encodeTime(2_600_000_000)],
    run: (bytes) => parseTime(new DerReader(bytes), 'time', 'any'),
    ...inner,
  },
  { name: 'parseCrl', seeds: endorsementsOf('crl'), run: (bytes) => parseCrl(bytes, 'CRL'), ...inner },
  {
    name: 'parseOcspResponse',
    seeds: endorsementsOf('ocsp'),
    run: (bytes) => parseOcspResponse(bytes, 'OCSP'),
    ...inner,
  },
  { name: 'parseJwt', seeds: [encodeUtf8(maa), ear], run: text(parseJwt), ...inner },
  { name: 'parseForeignJson', seeds: [earClaims, intelCollateral], run: ofJson, ...inner },
  {
    name: 'jwksKeysFor',
    seeds: samples.flatMap(({ issuers }) => issuers.map(({ jwks }) => jwks)),
    run: (bytes) => [jwksKeysFor(bytes, 'one', 'ES384'), jwksKeysFor(bytes, undefined, 'RS256')],
    ...inner,
  },
  { name: 'parseTcgEventLog', seeds: [tcgLog], run: parseTcgEventLog, ...outer },
  { name: 'parseCcEventLog', seeds: [ccLog], run: parseCcEventLog, ...outer },
  { name: 'recogniseEventLog', seeds: [tcgLog, ccLog], run: recogniseEventLog, ...outer },

  { name: 'parseSnpReport', seeds: [report], run: parseSnpReport, encode: encodeSnpReport, ...inner },
  { name: 'parseTcb', seeds: [report.slice(0x38, 0x40)], run: (bytes) => parseTcb(bytes, 'Milan', 'TCB'), ...inner },
  { name: 'parseCertificateTable', seeds: [forms.tsmTable(certificates)], run: parseCertificateTable, ...outer },
  {
    name: 'snpEvidenceOf',
    seeds: [forms.pemOf(...certificates)],
    run: (bytes) => snpEvidenceOf(report, [bytes]),
    ...outer,
  },
  {
    name: 'snpEvidenceOfTsm',
    seeds: [forms.tsmTable(certificates)],
    run: (bytes) => snpEvidenceOfTsm(report, bytes),
    ...outer,
  },
  {
    name: 'snpEvidenceOfTrustee',
    seeds: [forms.snpTrustee(report, certificates)],
    run: (bytes) => snpEvidenceOfTrustee(bytes),
    ...outer,
  },

  { name: 'parseIntelQuote', seeds: [sgx, tdx, tdQuote], run: parseIntelQuote, ...inner },
  {
    name: 'parseSgxReport',
    seeds: [sgx.slice(48, 48 + 384)],
    run: (bytes) => parseSgxReport(bytes, 'report'),
    ...inner,
  },
  { name: 'parseTdReport', seeds: [tdx.slice(48, 48 + 584)], run: parseTdReport, ...inner },
  { name: 'parseTcbInfo', seeds: endorsementsOf('tcb-info'), run: (bytes) => parseTcbInfo(bytes, 'info'), ...inner },
  {
    name: 'parseEnclaveIdentity',
    seeds: endorsementsOf('enclave-identity'),
    run: (bytes) => parseEnclaveIdentity(bytes, 'identity'),
    ...inner,
  },
  {
    name: 'intelEvidenceOf',
    seeds: [sgx, tdx, forms.openEnclave(sgx), forms.openEnclaveEvidence(sgx)],
    run: (bytes) => intelEvidenceOf(bytes),
    ...outer,
  },
  {
    name: 'intelEvidenceOfText',
    seeds: [encodeUtf8(encodeHex(tdx)), encodeUtf8(encodeBase64(sgx))],
    run: text((quote) => intelEvidenceOfText(quote)),
    ...outer,
  },
  { name: 'intelEvidenceOfTrustee', seeds: [forms.intelTrustee(tdx, ccLog)], run: intelEvidenceOfTrustee, ...outer },
  { name: 'intelEndorsementsOf', seeds: [intelCollateral], run: intelEndorsementsOf, ...outer },
  { name: 'recogniseIntelQuote', seeds: [sgx, tdx], run: recogniseIntelQuote, ...outer },
  { name: 'intelEvidenceOfCertificate', seeds: raTls, run: intelEvidenceOfCertificate, ...outer },
  { name: 'recogniseRaTls', seeds: raTls, run: recogniseRaTls, ...outer },

  { name: 'parseNitroDocument', seeds: [nitro], run: parseNitroDocument, ...inner },
  { name: 'nitroEvidenceOf', seeds: [nitro], run: nitroEvidenceOf, ...outer },
  {
    name: 'nitroEvidenceOfBase64',
    seeds: [encodeUtf8(encodeBase64(nitro))],
    run: text(nitroEvidenceOfBase64),
    ...outer,
  },
  { name: 'nitroEvidenceOfNsmResponse', seeds: [forms.nitroNsm(nitro)], run: nitroEvidenceOfNsmResponse, ...outer },
  { name: 'nitroEvidenceOfDstack', seeds: [forms.nitroDstack(nitro)], run: nitroEvidenceOfDstack, ...outer },
  { name: 'recogniseNitro', seeds: [nitro, forms.nitroNsm(nitro)], run: recogniseNitro, ...outer },

  { name: 'parseHclReport', seeds: [azureSnp.hclReport, azureTdx.hclReport], run: parseHclReport, ...inner },
  {
    name: 'parseTdHardwareReport',
    seeds: [azureTdx.hclReport.slice(32, 32 + 1024)],
    run: parseTdHardwareReport,
    ...inner,
  },
  {
    name: 'azureVmEvidenceOf hclReport',
    seeds: [azureSnp.hclReport],
    run: (hclReport) =>
      azureVmEvidenceOf({
        hclReport,
        quote: {
          message: azureSnp.quote,
          signature: azureSnp.signature.subarray(6),
          pcrs: Array.from({ length: 24 }, (_, pcr) => azureSnp.pcrs.slice(32 * pcr, 32 * pcr + 32)),
        },
        certificates: azureCertificates,
      }),
    ...outer,
  },
  {
    name: 'azureVmEvidenceOfTrustee',
    seeds: [forms.azureTrustee(azureSnp, { vcek: azureCertificates[0]! }), forms.azureTrustee(azureTdx, { tdQuote })],
    run: (bytes) => azureVmEvidenceOfTrustee(bytes, azureCertificates.slice(1)),
    ...outer,
  },
  { name: 'recogniseAzureVm', seeds: [azureSnp.hclReport], run: recogniseAzureVm, ...outer },
  {
    name: 'recogniseAzureVmJson',
    seeds: [forms.azureTrustee(azureTdx, { tdQuote })],
    run: (bytes) => recogniseAzureVmJson(ofJson(bytes)),
    ...inner,
  },
  {
    name: 'parseDidX509',
    seeds: [encodeUtf8(`did:x509:0:sha256:${'A'.repeat(43)}::eku:1.3.6.1.4.1.311.76.59.1.2`)],
    run: text(parseDidX509),
    ...inner,
  },
  {
    name: 'azureContainerGroupEvidenceOf',
    seeds: [forms.thim(certificates)],
    run: (bytes) => azureContainerGroupEvidenceOf({ report, certificates: [bytes], policy }),
    ...outer,
  },
  {
    name: 'azureContainerGroupEvidenceOfTexts',
    seeds: [encodeUtf8(encodeBase64(forms.thim(certificates)))],
    run: text((hostAmdCert) =>
      azureContainerGroupEvidenceOfTexts({
        report: encodeHex(report),
        hostAmdCert,
        securityPolicy: encodeBase64(policy),
      }),
    ),
    ...outer,
  },
  { name: 'recogniseUvmEndorsement', seeds: [uvm], run: recogniseUvmEndorsement, ...outer },
  {
    name: 'recogniseAzureContainerGroupJson',
    seeds: [forms.thim(certificates)],
    run: (bytes) => recogniseAzureContainerGroupJson(ofJson(bytes)),
    ...inner,
  },
  { name: 'maaEvidenceOf', seeds: [encodeUtf8(maa)], run: maaEvidenceOf, ...outer },
  { name: 'recogniseMaa', seeds: [encodeUtf8(maa)], run: text(recogniseMaa), ...outer },

  { name: 'parseCcaToken', seeds: [cca], run: parseCcaToken, ...inner },
  { name: 'parsePsaToken', seeds: [psa], run: parsePsaToken, ...inner },
  { name: 'ccaEvidenceOf', seeds: [cca], run: ccaEvidenceOf, ...outer },
  { name: 'psaEvidenceOf', seeds: [psa], run: psaEvidenceOf, ...outer },
  { name: 'recogniseArm', seeds: [cca, psa], run: recogniseArm, ...outer },

  {
    name: 'readQuote',
    seeds: [tpm.quote],
    run: (quote) => readQuote({ quote, signature: tpm.signature }),
    ...inner,
  },
  { name: 'parseTpmQuote', seeds: [tpm.quote, azureSnp.quote], run: parseTpmQuote, ...inner },
  {
    name: 'parseTpmSignature',
    seeds: [tpm.signature, bytesOf('tpm/1 with RSA', 'signature')],
    run: parseTpmSignature,
    ...inner,
  },
  { name: 'tpmEvidenceOfTrustee', seeds: [forms.tpmTrustee(tpm)], run: tpmEvidenceOfTrustee, ...outer },
  {
    name: 'tpmEvidenceOfGoTpmTools',
    seeds: [forms.goTpmTools(tpm, tcgLog)],
    run: (bytes) => tpmEvidenceOfGoTpmTools(bytes),
    ...outer,
  },
  {
    name: 'tpmEvidenceOfGoAttestation',
    seeds: [forms.goAttestation(tpm, tcgLog)],
    run: tpmEvidenceOfGoAttestation,
    ...outer,
  },
  {
    name: 'tpmEvidenceOfEnactTrust',
    seeds: [forms.enactTrust(tpm)],
    run: (bytes) => tpmEvidenceOfEnactTrust(bytes),
    ...outer,
  },
  { name: 'recogniseTpm', seeds: [tpm.quote, forms.enactTrust(tpm)], run: recogniseTpm, ...outer },
  {
    name: 'recogniseTpmJson',
    seeds: [forms.tpmTrustee(tpm), forms.goAttestation(tpm, tcgLog)],
    run: (bytes) => recogniseTpmJson(ofJson(bytes)),
    ...inner,
  },

  { name: 'parseSpdmReport', seeds: [gpu], run: parseSpdmReport, ...inner },
  { name: 'readOpaque', seeds: [gpu], run: (bytes) => readOpaque(parseSpdmReport(bytes).opaque, 'gpu'), ...inner },
  { name: 'nvidiaEvidenceOf', seeds: [gpu], run: (bytes) => nvidiaEvidenceOf(bytes, gpuChain), ...outer },
  {
    name: 'nvidiaEvidenceOfNvtrust',
    seeds: [encodeUtf8(encodeHex(gpu))],
    run: (bytes) => nvidiaEvidenceOfNvtrust(bytes, forms.pemOf(...gpuChain)),
    ...outer,
  },
  { name: 'nvidiaEvidenceOfNvat', seeds: [forms.nvidiaNvat(gpu, gpuChain)], run: nvidiaEvidenceOfNvat, ...outer },
  {
    name: 'nvidiaEvidenceOfTrustee',
    seeds: [forms.nvidiaTrustee(gpu, gpuChain)],
    run: nvidiaEvidenceOfTrustee,
    ...outer,
  },
  { name: 'recogniseNvidia', seeds: [gpu], run: recogniseNvidia, ...outer },
  { name: 'parseBundle', seeds: [encodeUtf8(nras)], run: text(parseBundle), ...inner },
  { name: 'nrasEvidenceOf', seeds: [encodeUtf8(nras)], run: text(nrasEvidenceOf), ...outer },
  { name: 'recogniseNras', seeds: [encodeUtf8(nras)], run: recogniseNras, ...outer },

  { name: 'readRim', seeds: [rim.xml], run: (bytes) => readRim(bytes, 'manifest'), ...inner },
  {
    name: 'readRims',
    seeds: [rim.xml],
    run: (content) => {
      const endorsements = new Endorsements([{ kind: 'rim', content }])
      const context = { roots: [rim.root], issuers: [], endorsements, now, cache: undefined, checks: new CheckLog() }
      return readRims(context, { product: 'GH100', versions: ['550.90.07'] })
    },
    meaning: (rims: readonly VerifiedRim[]) =>
      JSON.stringify(rims.map(({ measurements, ...rest }) => ({ ...rest, measurements: [...measurements] }))),
    ...outer,
  },

  {
    name: 'readEarJson',
    seeds: [earClaims],
    run: (bytes) => readEarJson(jsonObject(ofJson(bytes), 'claims')),
    ...inner,
  },
  {
    name: 'readEarCbor',
    seeds: [parseCoseSign1(cwt, 'CWT', { bytesMax: 100_000 }).payload],
    run: (bytes) => readEarCbor(cborOf(bytes)),
    ...inner,
  },
  { name: 'earEvidenceOf', seeds: [ear, cwt], run: (bytes) => earEvidenceOf(bytes), ...outer },
  { name: 'parseCmw', seeds: wrappers, run: parseCmw, ...outer },
  { name: 'parseCmwJson', seeds: wrappers.slice(0, 1), run: (bytes) => parseCmwJson(ofJson(bytes)), ...inner },
  { name: 'recogniseCmw', seeds: wrappers, run: (bytes) => recogniseCmw(bytes, laxJson(bytes)), ...outer },
  { name: 'cmwOfCertificate', seeds: [certificates[0]!], run: cmwOfCertificate, ...outer },
  {
    name: 'ibmSeEvidenceOfTrustee',
    seeds: [forms.ibmSeTrustee()],
    run: ibmSeEvidenceOfTrustee,
    ...outer,
  },
  {
    name: 'recogniseIbmSe',
    seeds: [forms.ibmSeTrustee()],
    run: (bytes) => recogniseIbmSe(bytes, laxJson(bytes)),
    ...outer,
  },
  { name: 'evidenceOfTsm', seeds: tsmReports, run: (bytes) => evidenceOfTsm(bytes, []), ...outer },
  { name: 'recogniseTsm', seeds: tsmReports, run: (bytes) => recogniseTsm(bytes, laxJson(bytes)), ...outer },
  {
    name: 'intelEvidenceOfOpenEnclaveJson',
    seeds: [encodeUtf8(JSON.stringify({ QuoteHex: encodeHex(forms.openEnclave(sgx)), Type: 2 }))],
    run: intelEvidenceOfOpenEnclaveJson,
    ...outer,
  },
  { name: 'parseComid', seeds: [comid], run: (bytes) => parseComid(bytes, 'CoMID'), ...inner },
  {
    name: 'verifyCorim',
    seeds: [signedCorim],
    run: (bytes) => verifyCorim(bytes, { signers: [corimSigner], now }),
    meaning: (manifest: Corim) => JSON.stringify(manifest),
    ...outer,
  },
  { name: 'readCorim', seeds: [corim], run: (bytes) => readCorim(bytes, { now }), ...outer },
  {
    name: 'readCollateral',
    seeds: [collateral, intelCollateral, forms.pemOf(...certificates)],
    run: readCollateral,
    ...outer,
  },
  {
    name: 'parseAppraisalPolicy',
    seeds: presets.map((preset) => encodeUtf8(JSON.stringify(appraisalPolicyJson(preset.policy)))),
    run: (bytes) => parseAppraisalPolicy(ofJson(bytes)),
    ...inner,
  },
  {
    name: 'parseSignerStatement',
    seeds: samples.slice(0, 2).map(({ evidence }, number) =>
      encodeSignerStatement({
        binding: {
          role: 'log-signer',
          vkey: 'log.example/one+e8389267+AR',
          number,
          previous: number === 0 ? null : '1'.repeat(64),
          configuration: '2'.repeat(64),
          builder: '3'.repeat(64),
          handover: number === 0 ? null : 'AA',
        },
        evidence,
        build: '{}',
      }),
    ),
    run: parseSignerStatement,
    encode: encodeSignerStatement,
    ...outer,
  },
  {
    name: 'parseEvidence',
    seeds: samples.map(({ evidence }) => encodeEvidence(evidence)),
    run: parseEvidence,
    encode: encodeEvidence,
    ...outer,
  },
  {
    name: 'parseEvidenceJson',
    seeds: samples.map(({ evidence }) => encodeUtf8(JSON.stringify(evidenceJson(evidence)))),
    run: (bytes) => parseEvidenceJson(ofJson(bytes)),
    ...inner,
  },
  {
    name: 'recogniseEvidence',
    seeds: [
      ...samples.map(({ evidence }) => encodeEvidence(evidence)),
      ...[report, sgx, tdx, raTls[0]!, nitro, forms.nitroNsm(nitro), forms.nitroDstack(nitro), gpu, cca, psa],
      ...[encodeUtf8(maa), encodeUtf8(nras), encodeUtf8(encodeHex(tdx)), encodeUtf8(encodeBase64(nitro))],
      ...[forms.tpmTrustee(tpm), forms.goAttestation(tpm, tcgLog), forms.enactTrust(tpm)],
      ...[forms.nvidiaNvat(gpu, gpuChain), forms.nvidiaTrustee(gpu, gpuChain)],
      ...[forms.snpTrustee(report, certificates), forms.intelTrustee(tdx, ccLog)],
      ...[forms.azureTrustee(azureTdx, { tdQuote }), forms.ibmSeTrustee(), ...tsmReports.slice(0, 1)],
    ].filter((bytes) => bytes !== report),
    run: (bytes) => recogniseEvidence(bytes),
    ...outer,
  },
]

// Claims on what of an event log led to a register: a log may prove less than before, and a policy that needs more refuses.
const proven = ['replayed', 'eventLogs']

/** One target for every part of each sample: with that part changed it is refused, or says the same as before. */
function verifications(sample: Sample): FuzzTarget[] {
  const { evidence, roots, issuers } = sample
  const [entry] = evidence.entries as unknown as [Fields]
  const endorsements = evidence.endorsements ?? []
  const options = { roots, issuers, requests: [request], now, cache: new ChainCache() }
  const target = (part: string, seed: Uint8Array, changed: (bytes: Uint8Array) => object): FuzzTarget => ({
    name: `verifyEvidence ${sample.name} ${part}`,
    seeds: [seed],
    run: (bytes) => verifyEvidence({ ...evidence, ...changed(bytes) }, options),
    meaning: ({ entries }: VerifiedEvidence) =>
      JSON.stringify(
        entries.map(({ claims }) => claims),
        (name, value: unknown) => (proven.includes(name) ? undefined : value),
      ),
    ...outer,
  })
  const ofEntry = (part: string, seed: Uint8Array, changed: (bytes: Uint8Array) => object): FuzzTarget =>
    target(part, seed, (bytes) => ({ entries: [{ ...entry, ...changed(bytes) }] }))
  const parts = Object.entries(entry).flatMap(([name, value]) => {
    if (name === 'role' || name === 'format') return []
    if (typeof value === 'string') {
      return [ofEntry(name, encodeUtf8(value), (bytes) => ({ [name]: new TextDecoder().decode(bytes) }))]
    }
    if (value instanceof Uint8Array) return [ofEntry(name, value, (bytes) => ({ [name]: bytes }))]
    return value.map((one, at) => ofEntry(`${name}[${at}]`, one, (bytes) => ({ [name]: value.with(at, bytes) })))
  })
  return [
    ...parts,
    ...endorsements.map(({ kind, content }, at) => ({
      ...target(`${kind} ${at}`, content, (bytes) => ({
        endorsements: endorsements.with(at, { kind, content: bytes }),
      })),
      without: () => verifyEvidence({ ...evidence, endorsements: endorsements.toSpliced(at, 1) }, options),
    })),
  ]
}

// IBM Secure Execution proves by a key of the caller's own, so its sample has a request beside it.
const machine = createECDH('secp521r1')
machine.setPrivateKey(Buffer.alloc(65, 3))
const hostKey = concatBytes(
  Uint8Array.fromHex('30819b301006072a8648ce3d020106052b8104002303818600'),
  new Uint8Array(machine.getPublicKey()),
)
const request: IbmSeRequest = {
  measurementKey: new Uint8Array(64).fill(0x41),
  nonce: new Uint8Array(16).fill(8),
  additions: ['image-host-key', 'attestation-host-key'],
}
const answered = {
  role: 'cpu',
  format: 'ibm-se/1',
  headerTags: new Uint8Array(208).fill(1),
  configurationId: new Uint8Array(16).fill(5),
  userData: new Uint8Array(64).fill(7),
  additionalData: concatBytes(hostKeyHash(hostKey)!, hostKeyHash(hostKey)!),
} as const
const measurement = Uint8Array.from(hmacSha512(request.measurementKey, measuredBytes(answered, request.nonce)))
const secureExecution: Sample = {
  name: 'ibm-se',
  evidence: {
    entries: [{ ...answered, measurement } as never],
    endorsements: [{ kind: 'public-key', content: hostKey }],
  },
  roots: [{ tee: 'ibm-se', spki: digestOf(hostKey), simulated: false }],
  issuers: [],
  now,
}

export const fuzzTargets: readonly FuzzTarget[] = [...parsers, ...[...samples, secureExecution].flatMap(verifications)]
