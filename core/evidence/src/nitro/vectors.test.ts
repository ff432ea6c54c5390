import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { nitroContext } from '../../test/nitro-vendor.ts'
import type { EvidenceErrorCode } from '../error.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { certificatesOf } from '../x509/pem.ts'
import type { NitroEntry } from './entry.ts'
import { nitroEvidenceOf, nitroEvidenceOfBase64, nitroEvidenceOfDstack, recogniseNitro } from './readers.ts'
import { awsNitroRoots } from './roots.ts'
import { type VerifiedNitro, verifyNitro } from './verify.ts'

const folder = 'vectors/nitro'

interface Vector {
  readonly evidence_file: string
  readonly valid_at: string
  readonly confirmed: { readonly valid_window: readonly [string, string] }
  readonly expected: {
    readonly valid: boolean
    readonly claims: {
      readonly module_id: string
      readonly timestamp_ms: number
      readonly pcrs: { readonly [index: string]: string }
      readonly public_key: string | null
      readonly user_data: string | null
      readonly nonce: string | null
      readonly debug: boolean
    }
  }
}

const vectorOf = (name: string): Vector => JSON.parse(readFileSync(sharedPath(`${folder}/${name}/vector.json`), 'utf8'))
const fileOf = (name: string, file: string): Uint8Array =>
  new Uint8Array(readFileSync(sharedPath(`${folder}/${name}/${file}`)))
const secondsOf = (time: string): number => Date.parse(time) / 1000

function entryOf(name: string): NitroEntry {
  const bytes = fileOf(name, vectorOf(name).evidence_file)
  if (name.startsWith('dstack')) return nitroEvidenceOfDstack(bytes)
  if (name.endsWith('base64')) return nitroEvidenceOfBase64(new TextDecoder().decode(bytes))
  return nitroEvidenceOf(bytes)
}

const verifyAt = (name: string, now: number, roots = awsNitroRoots): Promise<VerifiedNitro> =>
  verifyNitro(entryOf(name), nitroContext({ roots, now }))
const refuses = (run: Promise<unknown>, code: EvidenceErrorCode): Promise<void> => assert.rejects(run, { code })

sharedTest(
  'every document of the collection gets the verdict that is known for it, and its claims',
  folder,
  async () => {
    const names = readdirSync(sharedPath(folder))
    assert.ok(names.length >= 8)
    for (const name of names) {
      const { expected, valid_at } = vectorOf(name)
      if (!expected.valid) {
        await refuses(verifyAt(name, secondsOf(valid_at)), 'ERR_EVIDENCE_SIGNATURE')
        continue
      }
      const { claims } = await verifyAt(name, secondsOf(valid_at))
      const { claims: wanted } = expected
      assert.equal(claims.hardware.moduleId, wanted.module_id, name)
      assert.equal(claims.platformId, wanted.module_id.split('-enc')[0])
      assert.equal(claims.hardware.timestamp, wanted.timestamp_ms)
      assert.equal(claims.hardware.publicKey, wanted.public_key)
      assert.equal(claims.hardware.nonce, wanted.nonce)
      assert.equal(claims.reportData, wanted.user_data)
      assert.equal(claims.debug, wanted.debug)
      assert.equal(claims.provider, 'aws')
      assert.match(claims.hardware.region ?? '', /^(us|eu)-(east|west)-1$/)
      const pcrs = Object.entries(wanted.pcrs).map(([index, value]) => [
        `pcr${index}`,
        value === 'zero[48]' ? '0'.repeat(96) : value,
      ])
      assert.deepEqual(claims.measurements, Object.fromEntries(pcrs))
      assert.equal(claims.measurement, claims.measurements.pcr0)
      assert.equal(claims.simulated, false)
    }
  },
)

sharedTest('a document counts for as long as its chain does', folder, async () => {
  for (const name of readdirSync(sharedPath(folder))) {
    const { expected, confirmed } = vectorOf(name)
    if (!expected.valid) continue
    const [from, until] = confirmed.valid_window.map(secondsOf) as [number, number]
    for (const now of [from, until]) {
      const verified = await verifyAt(name, now)
      assert.deepEqual([verified.notBefore, verified.notAfter], [from, until])
    }
    await refuses(verifyAt(name, from - 1), 'ERR_EVIDENCE_NOT_YET_VALID')
    await refuses(verifyAt(name, until + 1), 'ERR_EVIDENCE_EXPIRED')
    await refuses(verifyAt(name, secondsOf('2026-11-25T00:00:00Z')), 'ERR_EVIDENCE_EXPIRED')
  }
})

sharedTest('an unrelated CA is no root, and a root is known by its key', folder, async () => {
  const name = 'fortanix-2021'
  const now = secondsOf(vectorOf(name).valid_at)
  const stranger = parseCertificate(new Uint8Array(new X509Certificate(fileOf(name, 'unknown_ca.crt')).raw), 'CA')
  const rootOf = (spki: Uint8Array) => [{ tee: 'nitro' as const, spki: digestOf(spki), simulated: false }]
  await refuses(verifyAt(name, now, rootOf(stranger.spki)), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  await refuses(verifyAt(name, now, []), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  // This copy of the root has another issuer name. What is trusted is the key, so it is worth as much as the original:
  // nobody checks what a root says of itself.
  const [tampered = new Uint8Array()] = certificatesOf(fileOf(name, 'tampered_root_cert.crt'), 'root')
  assert.equal(digestOf(parseCertificate(tampered, 'root').spki), awsNitroRoots[0]!.spki)
})

sharedTest('names what it is given', folder, () => {
  assert.equal(recogniseNitro(entryOf('fortanix-2021').document), 'an AWS Nitro attestation document')
  const raw = (name: string) => recogniseNitro(fileOf(name, vectorOf(name).evidence_file))
  assert.equal(raw('dstack-2025-nsm-response'), 'a dstack attestation of AWS Nitro')
  assert.equal(raw('evervault-2023-ga-base64'), 'an AWS Nitro attestation document in base64')
  assert.equal(recogniseNitro(new Uint8Array(1184)), undefined)
})

sharedTest('the pinned root is that of AWS', 'vectors/roots/aws-nitro/nitro.pem', () => {
  const certificate = new X509Certificate(readFileSync(sharedPath('vectors/roots/aws-nitro/nitro.pem')))
  const { raw, publicKey, subject } = certificate
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  assert.equal(digestOf(spki), awsNitroRoots[0]!.spki)
  // The fingerprint that AWS publishes for the certificate inside its archive.
  assert.equal(digestOf(new Uint8Array(raw)), '641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b')
  assert.match(subject, /CN=aws\.nitro-enclaves/)
})
