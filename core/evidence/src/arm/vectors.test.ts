import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import type { CborKey, CborValue } from '@cella/cbor'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { armContext, armKeys, type Claim, issueCca, signed } from '../../test/arm-vendor.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { type VerifiedCca, verifyCca } from './cca.ts'
import { parseCcaToken } from './cca-token.ts'
import { deviceKeyOf } from './key-forms.ts'
import { type VerifiedPsa, verifyPsa } from './psa.ts'
import { parsePsaToken } from './psa-token.ts'
import { ccaEvidenceOf, psaEvidenceOf, recogniseArm } from './readers.ts'

const file = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(`vectors/${path}`)))
const json = (path: string): { readonly [name: string]: unknown } => JSON.parse(new TextDecoder().decode(file(path)))
const expected = (path: string) =>
  (json(`${path}/vector.json`).expected as { claims: { readonly [name: string]: unknown } }).claims
const hex = (base64: unknown): Uint8Array => Uint8Array.fromBase64(base64 as string)

function context(tee: 'cca' | 'psa', keyFile: string) {
  const key = deviceKeyOf(file(keyFile))
  const endorsements = new Endorsements([key])
  return armContext({ endorsements, roots: [{ tee, spki: digestOf(key.content), simulated: false }] })
}

const ccaKeys = { 'trustee-example': 'cpak-pub.json', 'veraison-good': 'cpak.jwk' }

for (const [name, key] of Object.entries(ccaKeys)) {
  sharedTest(`the CCA token ${name} is genuine and says what is known of it`, `vectors/cca/${name}`, async () => {
    const bytes = file(`cca/${name}/token.cbor`)
    assert.equal(recogniseArm(bytes), 'an Arm CCA token')
    const run = context('cca', `cca/${name}/${key}`)
    const { claims }: VerifiedCca = await verifyCca(ccaEvidenceOf(bytes), run)
    const wanted = expected(`cca/${name}`)
    assert.equal(claims.reportData, wanted.realm_challenge)
    assert.equal(claims.hostData, wanted.realm_personalization)
    assert.equal(claims.measurement, wanted.realm_initial_measurement)
    const { rem0, rem1, rem2, rem3 } = claims.measurements
    assert.deepEqual([rem0, rem1, rem2, rem3], wanted.realm_extensible)
    assert.equal(claims.platformId, wanted.instance_id)
    const { hardware } = claims
    assert.equal(hardware.realmHash, wanted.realm_hash)
    assert.equal(parseCcaToken(bytes).realm.publicKeyHash, wanted.rak_hash)
    assert.equal(hardware.platformProfile, wanted.profile)
    assert.equal(hardware.realmProfile, wanted.realm_profile)
    assert.equal(hardware.implementationId, wanted.implementation_id)
    assert.equal(hardware.lifecycle, wanted.lifecycle)
    assert.equal(hardware.lifecycleState, 'secured')
    assert.equal(hardware.platformHash, wanted.hash_algo)
    assert.equal(claims.debug, false)
    assert.equal(claims.measurements['platform-rmm'] !== undefined, name === 'trustee-example')
    const stranger = name === 'veraison-good' ? 'trustee-example/cpak-pub.json' : 'veraison-good/cpak.jwk'
    const other = context('cca', `cca/${stranger}`)
    await assert.rejects(verifyCca(ccaEvidenceOf(bytes), other), { code: 'ERR_EVIDENCE_SIGNATURE' })
  })
}

const psaKeys: { readonly [claim: string]: readonly [string, string] } = {
  nonce: ['10', '-75008'],
  bootSeed: ['2397', '-75004'],
  instanceId: ['256', '-75009'],
  implementationId: ['2396', '-75003'],
  clientId: ['2394', '-75001'],
  lifecycle: ['2395', '-75002'],
  verificationService: ['2400', '-75010'],
  profile: ['265', '-75000'],
  certification: ['2398', '-75005'],
}

for (const [at, name] of ['tfm-psa-2-0-0', 'tfm-psa-iot-1'].entries()) {
  sharedTest(`the PSA token ${name} is genuine and says what is known of it`, `vectors/psa/${name}`, async () => {
    const bytes = file(`psa/${name}/token.cose`)
    assert.equal(recogniseArm(bytes), 'an Arm PSA token')
    const run = context('psa', `psa/${name}/public.pem`)
    const { claims }: VerifiedPsa = await verifyPsa(psaEvidenceOf(bytes), run)
    const wanted = expected(`psa/${name}`)
    const { hardware } = claims
    const found: { readonly [claim: string]: unknown } = {
      ...hardware,
      nonce: claims.reportData,
      instanceId: claims.platformId,
    }
    for (const [claim, keys] of Object.entries(psaKeys)) assert.equal(String(found[claim]), wanted[keys[at]!], claim)
    const listed = wanted[at === 0 ? '2399' : '-75006'] as string
    for (const { type, version } of hardware.software) {
      assert.ok(listed.includes(`'${type}'`) && listed.includes(`'${version}'`))
    }
    assert.deepEqual(Object.keys(claims.measurements), ['spe', 'nspe'])
    assert.deepEqual([claims.boundary, claims.debug, hardware.caller], ['world', false, 'secure'])
    // TF-M names the device by the digest of its key, so the key is found among others at once.
    assert.equal(claims.platformId, `01${digestOf(run.endorsements.all('public-key')[0]!.content.slice(-65))}`)
  })
}

// The JSON of the PSA and CCA reference implementations, brought into CBOR under the keys of each profile.
const base64Members = ['psa-implementation-id', 'psa-boot-seed', 'psa-nonce', 'psa-instance-id']
const members: readonly (readonly [string, number, number])[] = [
  ['psa-client-id', -75001, 2394],
  ['psa-security-lifecycle', -75002, 2395],
  ['psa-implementation-id', -75003, 2396],
  ['psa-boot-seed', -75004, 2397],
  ['psa-nonce', -75008, 10],
  ['psa-instance-id', -75009, 256],
  ['psa-verification-service-indicator', -75010, 2400],
]

function psaOfJson(set: { readonly [name: string]: unknown }, first: boolean): Claim[] {
  const profile = set['eat-profile'] ?? set['psa-profile']
  const claims: Claim[] = [[first ? -75000 : 265, profile as string]]
  for (const [name, one, two] of members) {
    const value = set[name]
    if (value === undefined) continue
    claims.push([first ? one : two, base64Members.includes(name) ? hex(value) : (value as CborValue)])
  }
  const components = (set['psa-software-components'] as { readonly [name: string]: string }[]).map((component) => {
    const entries: [CborKey, CborValue][] = [
      [2, hex(component['measurement-value'])],
      [5, hex(component['signer-id'])],
    ]
    return new Map(
      component['measurement-type'] === undefined ? entries : [[1, component['measurement-type']], ...entries],
    )
  })
  return [...claims, [first ? -75006 : 2399, components]]
}

const psaCases = 'vectors/psa/claims-json-cases'
sharedTest('PSA claims sets of the reference implementation get their verdict', psaCases, async () => {
  const names = readdirSync(sharedPath(psaCases)).filter((name) => name.startsWith('test-'))
  assert.equal(names.length, 8)
  for (const name of names) {
    const set = json(`psa/claims-json-cases/${name}`)
    // "eat-profile" goes with the claims of the second profile; "psa-profile" alone with the first.
    const first = set['eat-profile'] === undefined
    const token = await signed(psaOfJson(set, first), armKeys.iak)
    if (name.includes('-valid-'))
      assert.equal(parsePsaToken(token).profile, set['eat-profile'] ?? set['psa-profile'], name)
    else assert.throws(() => psaEvidenceOf(token), EvidenceError, name)
  }
})

const realmCases = 'vectors/cca/realm-claims-json-cases'
sharedTest('realm claims sets of the reference implementation get their verdict', realmCases, async () => {
  const names = readdirSync(sharedPath(realmCases)).filter((name) => name.startsWith('test-'))
  assert.equal(names.length, 5)
  for (const name of names) {
    const set = json(`cca/realm-claims-json-cases/${name}`)
    const bytes = (member: string): CborValue | undefined => (set[member] === undefined ? undefined : hex(set[member]))
    const realm: [CborKey, CborValue | undefined][] = [
      [265, undefined],
      [10, bytes('cca-realm-challenge')],
      [44235, bytes('cca-realm-personalization-value')],
      [44236, set['cca-realm-hash-algo-id'] as string],
      // The key of these sets is no point ("YBYB…"): a present one becomes a real one, in the legacy form.
      [44237, set['cca-realm-public-key'] === undefined ? undefined : Uint8Array.of(4, ...new Uint8Array(96))],
      [44238, bytes('cca-realm-initial-measurement')],
      [44239, (set['cca-realm-extensible-measurements'] as unknown[]).map((value) => hex(value))],
      [44240, set['cca-realm-public-key-hash-algo-id'] as string],
    ]
    const token = await issueCca({ realm })
    if (name.includes('all-valid')) assert.equal(parseCcaToken(token).realm.hash, 'sha-256')
    else assert.throws(() => ccaEvidenceOf(token), EvidenceError, name)
  }
})
