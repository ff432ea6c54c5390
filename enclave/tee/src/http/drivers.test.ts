import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { concatBytes, encodeBase64, encodeHex } from '@cella/bytes'
import { encodeEvidence, parseEvidence, parseSnpReport } from '@cella/evidence'
import { sha256 } from '@cella/primitives'
import { sharedTest } from '@cella/testing'
import { made, madeSnp, place } from '../../test/made.ts'
import { recorded } from '../../test/recorded.ts'
import { type Answer, type Asked, serve, serviceFaults } from '../../test/services.ts'
import { evidenceOf } from '../hardware.ts'
import type { EvidenceSource, SourceDriver } from '../source.ts'
import { aciDriver } from './aci.ts'
import { cocoDriver } from './coco.ts'
import { confidentialSpaceDriver } from './confidential-space.ts'
import { dstackDriver } from './dstack.ts'
import type { ServiceAddress } from './request.ts'

const binding = Uint8Array.from({ length: 64 }, (_, at) => at + 1)
const timeoutMs = 400
const { quote } = (await made('tdx', binding)) as { quote: Uint8Array }
const json = (value: unknown): Answer => ({ body: JSON.stringify(value) })

async function found(driver: SourceDriver): Promise<EvidenceSource> {
  const { source, attempts } = await driver.probe()
  assert.ok(source, JSON.stringify(attempts))
  return source
}

const token = (claims: object): string =>
  [{ alg: 'RS256' }, claims, 'signature']
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
const nonceOf = ({ body }: Asked): string => JSON.parse(body).nonces[0]

interface Client {
  readonly name: string
  readonly driver: (address: ServiceAddress, timeoutMs: number) => SourceDriver
  readonly sound: (asked: Asked) => Answer
  readonly unix?: boolean
}

const clients: readonly Client[] = [
  {
    name: 'coco',
    driver: (agent, timeoutMs) => cocoDriver({ agent, timeoutMs }),
    sound: () => json({ quote: encodeBase64(quote), cc_eventlog: null }),
  },
  {
    name: 'dstack',
    driver: (agent, timeoutMs) => dstackDriver({ agent, timeoutMs }),
    sound: () => json({ quote: encodeHex(quote), event_log: '[]' }),
    unix: true,
  },
  {
    name: 'confidential-space',
    driver: (launcher, timeoutMs) =>
      confidentialSpaceDriver({ launcher, timeoutMs, audience: 'https://cella.example' }),
    sound: (asked) => ({ body: token({ eat_nonce: nonceOf(asked) }) }),
    unix: true,
  },
]

for (const { name, driver, sound, unix } of clients) {
  const socket = unix ? join(place('sockets'), `${name}.sock`) : undefined
  test(`${name}: bears every fault of its service with its own error`, async () => {
    let answer: (asked: Asked) => Answer = sound
    const { address } = await serve((asked) => answer(asked), socket)
    const source = await found(driver(address, timeoutMs))
    const bytes = binding.subarray(0, source.bindingLength)
    answer = sound
    assert.equal((await (await found(driver(address, 5_000))).collect(bytes)).length, 1)
    for (const [what, fault, code] of serviceFaults) {
      answer = () => fault
      await assert.rejects(source.collect(bytes), { name: 'TeeError', code }, what)
    }
    for (const length of [0, 16, 63, 65]) await assert.rejects(source.collect(new Uint8Array(length)), RangeError)
  })

  test(`${name}: where nothing listens there is no source, and the report says so`, async () => {
    const nowhere = unix ? { socket: join(place('sockets'), 'none.sock') } : { host: '127.0.0.1', port: 1 }
    const { source, attempts } = await driver(nowhere, timeoutMs).probe()
    assert.equal(source, undefined)
    assert.match(attempts[0]!.found, /ENOENT|ECONNREFUSED/)
  })
}

test('coco: asks over the bytes in base64 and reads what the agent sends for TDX', async () => {
  const { address, asked } = await serve(() => json({ quote: encodeBase64(concatBytes(quote, new Uint8Array(70))) }))
  const source = await found(cocoDriver({ agent: address }))
  assert.deepEqual(await source.collect(binding), [{ role: 'cpu', format: 'tdx/1', fields: { quote } }])
  const query = new URL(asked.at(-1)!.path, 'http://x').searchParams
  assert.equal(query.get('runtime_data'), encodeBase64(binding))
  await assert.rejects(source.collect(binding.toReversed()), { code: 'ERR_TEE_MALFORMED' }, 'over other bytes')
})

test('dstack: takes hexadecimal with or without 0x, and nothing else', async () => {
  let text = `0x${encodeHex(quote)}`
  const { address, asked } = await serve(() => json({ quote: text }), join(place('sockets'), 'd.sock'))
  const source = await found(dstackDriver({ agent: address }))
  assert.deepEqual((await source.collect(binding))[0]?.fields, { quote })
  assert.deepEqual(JSON.parse(asked.at(-1)!.body), { report_data: encodeHex(binding) })
  for (text of ['', 'xyz', encodeHex(quote).slice(1)]) {
    await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
})

test('confidential-space: the token names our nonce, among several too, or is refused', async () => {
  let claims: (nonce: string) => object = (nonce) => ({ eat_nonce: ['other', nonce] })
  const answer = (asked: Asked): Answer => ({ body: token(claims(nonceOf(asked))) })
  const { address, asked } = await serve(answer, join(place('sockets'), 'c.sock'))
  const source = await found(confidentialSpaceDriver({ launcher: address, audience: 'a', service: 'intel' }))
  const [piece] = await source.collect(binding.subarray(0, 32))
  assert.equal(piece?.format, 'confidential-space/1')
  assert.equal(asked.at(-1)?.path, '/v1/intel/token')
  for (claims of [() => ({}), () => ({ eat_nonce: 'other' }), () => ({ eat_nonce: [] })]) {
    await assert.rejects(source.collect(binding.subarray(0, 32)), { code: 'ERR_TEE_MALFORMED' })
  }
})

const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toBase64().replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`

/** A security context with these three files, base64 as the utility VM writes them. */
function securityContext(name: string, files: { policy: Uint8Array; uvm: Uint8Array; thim: string }): string {
  const folder = join(place(name), 'security-context-x1')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'security-policy-base64'), encodeBase64(files.policy))
  writeFileSync(join(folder, 'reference-info-base64'), encodeBase64(files.uvm))
  writeFileSync(join(folder, 'host-amd-cert-base64'), encodeBase64(new TextEncoder().encode(files.thim)))
  return folder
}

test('azure-container-group: the sidecar’s report, over the digest of what it was given, with the context’s files', async () => {
  const padded = concatBytes(sha256(binding), new Uint8Array(32))
  const { report, certificates } = await madeSnp(padded)
  const [vcek, ...chain] = certificates.map(pem)
  const [policy, uvm] = [new TextEncoder().encode('package policy'), Uint8Array.of(0xd2, 0x84)]
  const thim = JSON.stringify({ vcekCert: vcek, certificateChain: chain.join('') })
  const folder = securityContext('aci', { policy, uvm, thim })
  let answer: Answer = json({ report: encodeHex(report) })
  const { address, asked } = await serve(() => answer)
  const source = await found(aciDriver({ root: join(folder, '..'), sidecar: address, timeoutMs }))
  assert.equal(source.rehashes, 'sha256')
  const pieces = await source.collect(binding)
  assert.deepEqual(pieces, [
    {
      role: 'container-group',
      format: 'azure-container-group/1',
      fields: { report, certificates, policy, uvmEndorsement: uvm },
    },
  ])
  assert.deepEqual(parseEvidence(encodeEvidence(evidenceOf(pieces))), evidenceOf(pieces))
  assert.deepEqual(JSON.parse(asked.at(-1)!.body), { runtime_data: encodeBase64(binding) })
  for (const [what, fault, code] of serviceFaults) {
    answer = fault
    await assert.rejects(source.collect(binding), { code }, what)
  }
  answer = json({ report: encodeHex(report.with(0x50, report[0x50]! ^ 1)) })
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
  writeFileSync(join(folder, 'security-policy-base64'), '*')
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_MALFORMED' })
})

test('azure-container-group: a driver that gives reports over our own bytes is asked before the sidecar', async () => {
  const { report, certificates } = await madeSnp(binding)
  const thim = JSON.stringify({
    vcekCert: pem(certificates[0]!),
    certificateChain: certificates.slice(1).map(pem).join(''),
  })
  const folder = securityContext('aci-direct', { policy: Uint8Array.of(1), uvm: Uint8Array.of(2), thim })
  const direct: SourceDriver = {
    name: 'sev-guest',
    title: 'given',
    probe: async () => ({
      attempts: [{ what: 'given', found: 'there' }],
      source: {
        name: 'sev-guest',
        bindingLength: 64,
        collect: async () => [{ role: 'cpu', format: 'sev-snp/1', fields: { report, certificates } }],
      },
    }),
  }
  const source = await found(aciDriver({ securityContext: folder, report: direct }))
  assert.equal(source.rehashes, undefined)
  assert.deepEqual((await source.collect(binding))[0]?.fields.report, report)
})

test('azure-container-group: says which part of the context is missing', async () => {
  const none = await aciDriver({ root: place('aci-none') }).probe()
  assert.equal(none.source, undefined)
  assert.match('why' in none ? none.why : '', /UVM_SECURITY_CONTEXT_DIR/)
  const empty = await aciDriver({ securityContext: place('aci-empty') }).probe()
  assert.match('why' in empty ? empty.why : '', /security-policy-base64/)
})

sharedTest(
  'a real security context and report of ACI come out as they were recorded',
  'vectors/azure-aci',
  async () => {
    const at = (name: string): string => `azure-aci/sidecar-snp-policy-uvm/${name}`
    const report = recorded(at('snp_report.bin'))
    const policy = recorded(at('uvm_security_policy.base64'), 'base64')
    const uvm = recorded(at('body.uvm_reference_info.bin'))
    const thim = new TextDecoder().decode(recorded(at('uvm_host_amd_certificate.json')))
    const securityContextFolder = securityContext('aci-real', { policy, uvm, thim })
    const own = parseSnpReport(report).reportData
    const direct: SourceDriver = {
      name: 'sev-guest',
      title: 'given',
      probe: async () => ({
        attempts: [],
        source: {
          name: 'sev-guest',
          bindingLength: 64,
          collect: async () => [{ role: 'cpu', format: 'sev-snp/1', fields: { report, certificates: [] } }],
        },
      }),
    }
    const source = await found(aciDriver({ securityContext: securityContextFolder, report: direct }))
    const { certificates = [], ...fields } = (await source.collect(own))[0]?.fields ?? {}
    assert.deepEqual(fields, { report, policy, uvmEndorsement: uvm })
    assert.equal(certificates.length, 3)
  },
)
