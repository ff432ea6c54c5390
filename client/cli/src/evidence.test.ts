import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHmac, createPublicKey, generateKeyPairSync, hash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { type Payload, signDocument } from '@cella/documents'
import { appraisalPolicyJson, presets } from '@cella/evidence'
import { issueIntelCrl, issueIntelRoot } from '@cella/evidence/intel-issue'
import { ed25519PublicKey, keyIdOf } from '@cella/primitives'
import { commandLine, sharedPath, sharedTest } from '@cella/testing'

const folder = mkdtempSync(join(tmpdir(), 'cella-evidence-'))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function cella(home: string, ...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const all = [commandLine, '--home', join(folder, home), ...args]
    execFile(process.execPath, all, { maxBuffer: 1 << 24 }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    )
  })
}

async function json(home: string, ...args: string[]): Promise<{ code: number; data: Record<string, unknown> }> {
  const { code, stdout, stderr } = await cella(home, '--json', 'evidence', ...args)
  assert.notEqual(stdout, '', stderr)
  return { code, data: JSON.parse(stdout) as Record<string, unknown> }
}

const snp = (name: string) => sharedPath(`vectors/snp/turin-v5-aci-msft/${name}`)
const snpFile = () => [snp('report.bin'), '--certificate', snp('vcek.pem'), '--certificate', snp('ask_ark.pem')]
const tdx = (name: string) => sharedPath(`vectors/tdx/v4-dcap-qvl-uptodate/${name}`)

describe('evidence of real machines', () => {
  sharedTest('show tells what it is, whether it is genuine, and what was looked at', 'vectors/snp', async () => {
    const { code, data } = await json('a', 'show', ...snpFile())
    assert.equal(code, 0)
    assert.deepEqual([data.form, data.genuine], ['an AMD SEV-SNP report', true])
    const shown = await cella('a', 'evidence', 'show', ...snpFile())
    assert.match(shown.stdout, /^Genuine\n/)
    assert.match(shown.stdout, /chip +59790fb1c39f35c1/)
    const bytes = readFileSync(snp('report.bin'))
    bytes[0x90]! ^= 1
    writeFileSync(join(folder, 'changed.bin'), bytes)
    const changed = await json('a', 'show', join(folder, 'changed.bin'), ...snpFile().slice(1))
    assert.equal(changed.code, 1)
    assert.equal((changed.data.error as { code: string }).code, 'ERR_EVIDENCE_SIGNATURE')
  })

  sharedTest('verify accepts by a preset and says what the preset leaves open', 'vectors/snp', async () => {
    const accepted = await cella('a', 'evidence', 'verify', ...snpFile(), '--policy', 'azure-container-snp')
    assert.equal(accepted.code, 0, accepted.stderr)
    assert.match(accepted.stdout, /The terms accept it\.\n.*any code.*\n.*any moment/)
    const another = 'ff'.repeat(64)
    const bound = [...snpFile(), '--policy', 'azure-container-snp', '--report-data', another]
    assert.equal((await json('a', 'verify', ...bound)).data.allowed, false)
    const refused = await json('a', 'verify', ...snpFile(), '--policy', 'gcp-snp')
    assert.equal(refused.code, 1)
    const codes = (refused.data.reasons as { code: string }[]).map(({ code }) => code)
    assert.ok(codes.includes('snp-product'), codes.join())
    const checks = refused.data.checks as { code: string; outcome: string }[]
    const outcome = (code: string) => checks.find((check) => check.code === code)?.outcome
    assert.deepEqual(['snp-product', 'snp-vmpl', 'snp-abi'].map(outcome), ['failed', 'passed', 'not-applicable'])
    assert.match(accepted.stdout, /✓ snp-vmpl: 0\n/)
  })

  sharedTest('explain names the least change, and the changed policy accepts', 'vectors/snp', async () => {
    const output = join(folder, 'nearer.json')
    const explained = await json('a', 'explain', ...snpFile(), '--policy', 'gcp-snp', '--output', output)
    assert.equal(explained.code, 0)
    const products = (explained.data.changes as { path: string; to: unknown }[]).find(({ path }) =>
      path.endsWith('.products'),
    )
    assert.deepEqual(products?.to, ['Milan', 'Turin'])
    assert.ok((explained.data.checks as { code: string }[]).some(({ code }) => code === 'snp-vmpl'))
    assert.equal((await json('a', 'verify', ...snpFile(), '--policy', output)).data.allowed, true)
  })

  sharedTest('trust pins what was measured: the same machine passes, another does not', 'vectors/snp', async () => {
    const output = join(folder, 'pinned.json')
    const learnt = await json('a', 'trust', ...snpFile(), '--policy', 'azure-container-snp', '--output', output)
    assert.equal(learnt.code, 0)
    assert.equal((await json('a', 'verify', ...snpFile(), '--policy', output)).data.allowed, true)
    const other = (name: string) => sharedPath(`vectors/snp/milan-v3-aci-msft/${name}`)
    const file = [other('report.bin'), '--certificate', other('vcek.pem'), '--certificate', other('ask_ark.pem')]
    const { data } = await json('a', 'verify', ...file, '--policy', output)
    assert.deepEqual(
      (data.reasons as { code: string }[]).map(({ code }) => code),
      ['measurement'],
    )
    const again = await cella('a', 'evidence', 'trust', ...snpFile(), '--policy', output, '--output', output)
    assert.equal(again.code, 1)
    assert.match(again.stderr, /is there already/)
  })

  sharedTest('collateral that was imported is used, and its window is judged', 'vectors/tdx', async () => {
    const at = ['--at', '2025-06-20T10:32:27Z']
    const bare = await json('b', 'verify', tdx('quote.bin'), '--policy', 'gcp-tdx', ...at)
    assert.ok((bare.data.reasons as { code: string }[]).some(({ code }) => code === 'intel-tcb-status'))
    const kept = await json('b', 'collateral', 'import', tdx('collateral.json'))
    assert.ok(Number(kept.data.added) >= 6)
    const rated = await json('b', 'show', tdx('quote.bin'), ...at)
    const [claims] = rated.data.claims as { tcb: { status: string } }[]
    assert.equal(claims?.tcb.status, 'UpToDate')
    const judged = await json('b', 'verify', tdx('quote.bin'), '--policy', 'gcp-tdx', ...at)
    assert.ok(Number(judged.data.collateralIssuedAt) > 1_740_000_000)
    const late = await json('b', 'show', tdx('quote.bin'), '--at', '2026-06-20T10:32:27Z')
    assert.equal((late.data.error as { code: string }).code, 'ERR_EVIDENCE_COLLATERAL_EXPIRED')
    const bundle = join(folder, 'bundle.json')
    assert.equal((await json('b', 'collateral', 'export', '--output', bundle)).code, 0)
    assert.equal((await cella('b', 'evidence', 'collateral', 'export', '--output', bundle)).code, 1)
    assert.equal((await json('b', 'collateral', 'export', '--output', bundle, '--overwrite')).code, 0)
    const elsewhere = await json('c', 'show', tdx('quote.bin'), '--collateral', bundle, ...at)
    assert.equal((elsewhere.data.claims as (typeof claims)[])[0]?.tcb.status, 'UpToDate')
  })

  sharedTest('fetch asks for what is missing, from where it is told', 'vectors/tdx', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(404).end()
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const fetched = await cella(
      'd',
      'evidence',
      'collateral',
      'fetch',
      tdx('quote.bin'),
      '--intel',
      url,
      '--intel-certificates',
      url,
    )
    server.close()
    assert.equal(fetched.code, 1)
    assert.match(fetched.stderr, /answered 404/)
    assert.ok(
      asked.some((path) => path.startsWith('/tdx/certification/v4/tcb?fmspc=')),
      asked.join(),
    )
  })
})

describe('a signed release', () => {
  const write = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const pemOf = (key: KeyObject): string => String(createPublicKey(key).export({ format: 'pem', type: 'spki' }))
  const start = (): string => write('start.json', JSON.stringify(appraisalPolicyJson(presetOf('gcp-tdx'))))
  const presetOf = (name: string) => presets.find((one) => one.name === name)!.policy
  const trust = (output: string, ...more: string[]) =>
    json('g', 'trust', '--policy', start(), '--output', join(folder, output), ...more)

  test('a Build document of a builder who is trusted becomes reference values', async () => {
    const seed = randomBytes(32)
    const signer = keyIdOf(ed25519PublicKey(seed))
    const digest = 'ab'.repeat(32) as Digest
    const tdx = { tee: 'tdx', boundary: 'vm', simulated: false, measurement: 'cd'.repeat(48) } as const
    const payload: Payload<'cella/build'> = {
      type: 'cella/build',
      version: 1,
      organisation: digest,
      signer,
      cosigners: [],
      role: 'vault',
      release: '1.0.0',
      files: [{ name: 'vault.mjs', digest }],
      node: { release: 'v26', platform: 'linux-x64', digest },
      arguments: [],
      measurements: [
        { ...tdx, registers: { mrtd: 'cd'.repeat(48), rtmr1: 'ef'.repeat(48) } },
        { tee: 'sgx', boundary: 'process', simulated: false, measurement: 'aa'.repeat(32) },
        { ...tdx, simulated: true, measurement: '00'.repeat(48) },
      ],
      sbom: digest,
      reproduce: 'build it',
    }
    const release = write('build.json', (await signDocument<'cella/build'>(payload, [seed])).envelope)
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), ed25519PublicKey(seed)])
    const signedBy = ['--signer', write('builder.der', spki)]
    const { code, data } = await trust('released.json', '--release', release, ...signedBy)
    assert.equal(code, 0)
    const wanted = {
      measurements: { mrtd: 'cd'.repeat(48), rtmr1: 'ef'.repeat(48) },
      notBefore: 'any',
      notAfter: 'any',
    }
    assert.deepEqual(data.references, [wanted])
    assert.deepEqual(JSON.parse(readFileSync(join(folder, 'released.json'), 'utf8')).measurements, [wanted])
    const other = write('other.pem', pemOf(generateKeyPairSync('ed25519').privateKey))
    const refused = await cella(
      'g',
      'evidence',
      'trust',
      '--release',
      release,
      '--signer',
      other,
      '--policy',
      'gcp-tdx',
      '--output',
      join(folder, 'no.json'),
    )
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /signer .* is unknown/)
    for (const usage of [['--release', release], [], [release, '--release', release, ...signedBy]]) {
      const asked = ['--policy', 'gcp-tdx', '--output', join(folder, 'no.json'), ...usage]
      assert.equal((await cella('g', 'evidence', 'trust', ...asked)).code, 2)
    }
    const sgx = ['--release', release, ...signedBy, '--policy', 'gcp-snp', '--output', join(folder, 'no.json')]
    assert.match((await cella('g', 'evidence', 'trust', ...sgx)).stderr, /the policy takes sev-snp/)
    assert.ok(!existsSync(join(folder, 'no.json')))
  })

  test('a signed CoRIM becomes reference values, by names that are given', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    const value = Buffer.alloc(48, 7)
    const measured = new Map<number, CborValue>([
      [0, 'td'],
      [1, new Map([[2, [[7, value]]]])],
    ])
    const environment = new Map([[0, new Map([[0, new CborTag(560, Buffer.alloc(8, 1))]])]])
    const comid = encodeCbor(
      new Map<number, CborValue>([
        [1, new Map([[0, 'tag']])],
        [4, new Map([[0, [[environment, [measured]]]]])],
      ]),
    )
    const corim = encodeCbor(
      new CborTag(
        501,
        new Map<number, CborValue>([
          [0, 'release 7'],
          [1, [new CborTag(506, comid)]],
        ]),
      ),
    )
    const headers = encodeCbor(
      new Map<number, CborValue>([
        [1, -7],
        [3, 'application/rim+cbor'],
        [8, encodeCbor(new Map([[0, new Map([[0, 'ACME']])]]))],
      ]),
    )
    const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
    const signature = sign('sha256', encodeCbor(['Signature1', headers, new Uint8Array(), corim]), key)
    const release = write('release.corim', encodeCbor(new CborTag(18, [headers, new Map(), corim, signature])))
    const signedBy = ['--signer', write('acme.pem', pemOf(privateKey))]
    const names = write('names.json', JSON.stringify({ elements: { td: 'mrtd' }, registers: 'rtmr', hash: 'sha-384' }))
    const { data } = await trust('corim.json', '--release', release, ...signedBy, '--names', names)
    assert.deepEqual(data.references, [
      { measurements: { mrtd: value.toString('hex') }, notBefore: 'any', notAfter: 'any' },
    ])
    const other = write('other-ec.pem', pemOf(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey))
    const refused = ['--release', release, '--signer', other, '--names', names, '--policy', 'gcp-tdx']
    assert.match(
      (await cella('g', 'evidence', 'trust', ...refused, '--output', join(folder, 'no.json'))).stderr,
      /signed by none of the keys/,
    )
    const nameless = ['--release', release, ...signedBy, '--policy', 'gcp-tdx', '--output', join(folder, 'no.json')]
    assert.equal((await cella('g', 'evidence', 'trust', ...nameless)).code, 2)
  })
})

describe('forms', () => {
  sharedTest('convert writes a wrapper that is read back as the same evidence', 'vectors/snp', async () => {
    const plain = join(folder, 'plain.json')
    assert.equal((await json('f', 'convert', ...snpFile(), '--output', plain)).code, 0)
    for (const form of ['json', 'cbor']) {
      const wrapped = join(folder, `wrapped.${form}`)
      assert.equal((await json('f', 'convert', plain, '--cmw', form, '--output', wrapped)).code, 0)
      const [, type] = form === 'json' ? JSON.parse(`[0,${readFileSync(wrapped, 'utf8').slice(1)}`) : [0, 'cbor']
      assert.ok(form === 'cbor' ? readFileSync(wrapped)[0] === 0x83 : type === 'application/vnd.cella.evidence+json')
      assert.equal((await json('f', 'show', wrapped)).data.genuine, true)
      const back = join(folder, `back-from-${form}.json`)
      assert.equal((await json('f', 'convert', wrapped, '--output', back)).code, 0)
      assert.deepEqual(readFileSync(back), readFileSync(plain))
    }
  })

  test('IBM Secure Execution is judged by a request of one’s own', async () => {
    const write = (name: string, content: string | Uint8Array): string => {
      writeFileSync(join(folder, name), content)
      return join(folder, name)
    }
    const spki = generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey.export({ type: 'spki', format: 'der' })
    const pad = Buffer.alloc(14)
    const hostKey = hash('sha256', Buffer.concat([pad, spki.subarray(-132, -66), pad, spki.subarray(-66)]), 'buffer')
    const key = Buffer.alloc(64, 0x41)
    const nonce = Buffer.alloc(16, 8)
    const [tags, uid, user, more] = [
      Buffer.alloc(208, 1),
      Buffer.alloc(16, 5),
      Buffer.alloc(64, 7),
      Buffer.concat([hostKey, hostKey]),
    ]
    const sizes = Buffer.from([0, 64, 0, 0, 0, 0, 0, 64])
    const measured = Buffer.concat([tags, uid, sizes, user, nonce, more])
    const answer = {
      measurement: createHmac('sha512', key).update(measured).digest('base64'),
      image_hdr_tags: tags.toString('base64'),
      cuid: uid.toString('base64'),
      user_data: user.toString('base64'),
      additional_data: more.toString('base64'),
    }
    const request = { measurementKey: key.toString('base64url'), nonce: nonce.toString('base64url') }
    const additions = ['image-host-key', 'attestation-host-key']
    const root = [{ tee: 'ibm-se', spki: hash('sha256', spki, 'hex'), simulated: false }]
    const given = [write('se.json', JSON.stringify(answer)), '--root', write('se-roots.json', JSON.stringify(root))]
    given.push('--collateral', write('host-key.der', spki))
    const show = (secrets: object) =>
      json('f', 'show', ...given, '--request', write('request.json', JSON.stringify(secrets)))
    assert.equal((await show({ ...request, additions })).data.genuine, true)
    const other = await show({ ...request, nonce: Buffer.alloc(16, 9).toString('base64url'), additions })
    assert.deepEqual([other.code, other.data.genuine], [1, false])
    const bad = await cella(
      'f',
      'evidence',
      'show',
      ...given,
      '--request',
      write('bad.json', '{"measurementKey":"QUFB"}'),
    )
    assert.equal(bad.code, 1)
    assert.match(bad.stderr, /is not the secrets of a request/)
    assert.doesNotMatch(bad.stderr, /QUFB/)
  })
})

describe('collateral', () => {
  test('a list is kept, shown with its end, and an older one does not replace it', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    const signer = (bytes: Uint8Array) =>
      new Uint8Array(sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
    const now = Math.floor(Date.now() / 1000)
    const crl = (thisUpdate: number) =>
      issueIntelCrl({ issuer: 'root', number: 1, thisUpdate, nextUpdate: now + 90, revoked: [], sign: signer })
    const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
    const root = await issueIntelRoot({ spki, serial: 1, notBefore: now - 9, notAfter: now + 9, sign: signer })
    const files = [await crl(now - 10), await crl(now - 20), root].map((bytes, at) => {
      const path = join(folder, `piece-${at}.der`)
      writeFileSync(path, bytes)
      return path
    })
    const { data } = await json('e', 'collateral', 'import', ...files)
    assert.deepEqual(data, { added: 2, ignored: 1 })
    const { stdout } = await cella('e', 'evidence', 'collateral', 'list')
    assert.match(stdout, /CRL of Intel SGX Root CA +\d{4}-\d\d-\d\d \d\d:\d\d +in force/)
  })
})

describe('what can’t be read', () => {
  test('is said by name, with what would be right', async () => {
    const file = join(folder, 'noise.bin')
    writeFileSync(file, 'no evidence at all')
    const noise = await cella('f', 'evidence', 'show', file)
    assert.equal(noise.code, 1)
    assert.match(noise.stderr, /no form of evidence that is known/)
    const policy = join(folder, 'policy.json')
    writeFileSync(policy, '{"simulated":"refused"}')
    const incomplete = await cella('f', 'evidence', 'verify', file, '--policy', policy)
    assert.notEqual(incomplete.code, 0)
    const missing = await cella('f', 'evidence', 'verify', file)
    assert.equal(missing.code, 2)
    assert.match(missing.stderr, /--policy/)
  })
})
