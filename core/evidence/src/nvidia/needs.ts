import { encodeHex } from '@cella/bytes'
import { sha384 } from '@cella/primitives'
import type { CollateralNeed } from '../collateral/needs.ts'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import { der, derOid, derTag } from '../x509/der.ts'
import { readIdentity } from './identity.ts'
import { keyOf, ocspSubject } from './ocsp.ts'
import { type NvidiaConfiguration, readOpaque } from './opaque.ts'
import { parseSpdmReport } from './report.ts'
import type { NvidiaEntry } from './verify.ts'

/** The LS10's report does not say these, and its manifests have one set of them. */
const switchBoard = { project: '5612', projectSku: '0002', chipSku: '890' }

/** Manifests of driver and VBIOS by NVIDIA's RIM service, and an OCSP answer about each certificate but the root. */
export function nvidiaNeeds({ report: bytes, certificates: ders }: NvidiaEntry): readonly CollateralNeed[] {
  const report = parseSpdmReport(bytes)
  const certificates = ders.map((one, at) => parseCertificate(one, `certificates[${at}]`))
  const [leaf, issuer] = certificates
  if (leaf === undefined || issuer === undefined) return []
  const { device, chip } = readIdentity(leaf, issuer)
  const manifests = manifestIds(readOpaque(report.opaque, device), device, chip)
  return [
    ...manifests.map(
      ({ id, subject }) => ({ service: 'nvidia-rim', path: `/v1/rim/${id}`, form: 'rim', subject }) as const,
    ),
    ...certificates.slice(0, -1).map((certificate, at) => ocspNeed(certificate, certificates[at + 1]!)),
  ]
}

interface ManifestId {
  readonly id: string
  /** How `describeCollateral` begins to name it. */
  readonly subject: string
}

function manifestIds(found: NvidiaConfiguration, device: 'gpu' | 'nvswitch', chip: string): ManifestId[] {
  const { driverVersion, vbiosVersion } = found
  const { project, projectSku, chipSku } = device === 'gpu' ? found : switchBoard
  const subject = (version: string) => `reference manifest of ${chip} ${version.toUpperCase()} `
  // Since Blackwell a driver without confidential computing has manifests of its own.
  const line = chip.startsWith('GH') ? 'NV_GPU_DRIVER' : 'NV_GPU_CC_DRIVER'
  const board = [project, projectSku, chipSku, vbiosVersion.replaceAll('.', '').toUpperCase()]
  const kind = device === 'gpu' ? 'NV_GPU_VBIOS' : 'NV_SWITCH_BIOS'
  const ids = [
    ...(driverVersion === null ? [] : [{ id: [line, chip, driverVersion].join('_'), subject: subject(driverVersion) }]),
    ...(board.includes(null) ? [] : [{ id: [kind, ...board].join('_'), subject: subject(vbiosVersion) }]),
  ]
  // What the device says goes into an address.
  return ids.filter(({ id }) => /^[A-Za-z0-9._-]+$/.test(id))
}

const sha384Algorithm = der(derTag.sequence, derOid('2.16.840.1.101.3.4.2.2'))

/** RFC 6960 §4.1.1: a request about one certificate, without a nonce, so that the answer can be kept. */
function ocspNeed(certificate: Certificate, issuer: Certificate): CollateralNeed {
  const keyHash = sha384(keyOf(issuer.spki))
  const certificateId = der(
    derTag.sequence,
    sha384Algorithm,
    der(derTag.octetString, sha384(issuer.subject)),
    der(derTag.octetString, keyHash),
    der(derTag.integer, certificate.serial),
  )
  const list = der(derTag.sequence, der(derTag.sequence, certificateId))
  return {
    service: 'nvidia-ocsp',
    path: '/',
    form: 'ocsp',
    body: der(derTag.sequence, der(derTag.sequence, list)),
    subject: ocspSubject([{ serial: encodeHex(certificate.serial), issuerKeyHash: keyHash }]),
  }
}
