import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  type CollateralNeed,
  collateralBytesMax,
  collateralNeeds,
  describeCollateral,
  type Endorsement,
  readCollateral,
  recogniseEvidence,
} from '@cella/evidence'
import { issueIntelCrl, issueIntelRoot } from '@cella/evidence/intel-issue'
import { sharedPath, sharedTest } from '@cella/testing'
import { type CollateralServices, fetchCollateral, missingCollateral, openCollateralFolder } from './index.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
const signer = (bytes: Uint8Array) =>
  new Uint8Array(sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
const now = 1_790_000_000
const certificate = await issueIntelRoot({ spki, serial: 1, notBefore: now - 9, notAfter: now + 9, sign: signer })

async function crl(thisUpdate: number, nextUpdate = thisUpdate + 1000): Promise<Endorsement> {
  const options = { issuer: 'root', number: 1, thisUpdate, nextUpdate, revoked: [], sign: signer } as const
  return { kind: 'crl', content: await issueIntelCrl(options) }
}

describe('a folder of collateral', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cella-collateral-'))
  })
  after(() => rm(folder, { recursive: true }))

  test('keeps what it is given, the newest edition of each, and says what is in force', async () => {
    const store = openCollateralFolder(join(folder, 'a'))
    assert.deepEqual(await store.pieces(), [])
    await store.add([await crl(now - 50), { kind: 'certificate', content: certificate }])
    await store.add([await crl(now - 90)])
    const held = await openCollateralFolder(store.folder).list(now)
    assert.deepEqual(
      held.map(({ subject, notBefore, state }) => [subject.replace(/ [0-9a-f]{12}$/, ''), notBefore, state]),
      [
        ['certificate Intel SGX Root CA', now - 9, 'in-force'],
        ['CRL of Intel SGX Root CA', now - 50, 'in-force'],
      ],
    )
    await store.add([await crl(now - 10)])
    assert.equal((await readdir(store.folder)).length, 2)
    assert.equal((await store.list(now + 5000))[1]?.state, 'expired')
    assert.equal((await store.list(now - 11))[1]?.state, 'not-yet')
    assert.equal((await store.endorsements()).all('crl').length, 1)
  })

  test('refuses a file that is not what its name says, and takes no notice of others', async () => {
    const store = openCollateralFolder(join(folder, 'b'))
    await store.add([await crl(now)])
    const [name = ''] = await readdir(store.folder)
    await writeFile(join(store.folder, 'notes.txt'), 'mine')
    assert.equal((await store.pieces()).length, 1)
    const bytes = await readFile(join(store.folder, name))
    bytes[40]! ^= 1
    await writeFile(join(store.folder, name), bytes)
    await assert.rejects(store.pieces(), { code: 'ERR_COLLATERAL_FOLDER' })
    await rm(join(store.folder, name))
    await writeFile(join(store.folder, name.replace('.crl', '.der')), bytes)
    await assert.rejects(store.pieces(), { code: 'ERR_COLLATERAL_FOLDER' })
  })

  test('two writers at once lose nothing', async () => {
    const store = openCollateralFolder(join(folder, 'c'))
    const given = await Promise.all([1, 2, 3, 4].map(async (age) => [await crl(now - age)]))
    await Promise.all([
      ...given.map((one) => store.add(one)),
      store.add([{ kind: 'certificate', content: certificate }]),
    ])
    await store.add([])
    const pieces = await store.pieces()
    assert.ok(pieces.some(({ kind }) => kind === 'certificate'))
    const newest = Math.max(...pieces.map((piece) => describeCollateral(piece).notBefore ?? 0))
    assert.equal(newest, now - 1)
  })
})

describe('fetching', () => {
  const server = createServer((request, response) => answer(request, response))
  let answer: (request: IncomingMessage, response: ServerResponse) => void
  let services: CollateralServices
  let asked: string[] = []
  const quick = { timeout: 300, firstPause: 5, spacing: 0 }
  const list: CollateralNeed = { service: 'intel-certificates', path: '/IntelSGXRootCA.der', form: 'der-crl' }

  before(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    services = {
      'amd-kds': `${base}/`,
      'intel-pcs': base,
      'intel-certificates': base,
      'nvidia-rim': base,
      'nvidia-ocsp': base,
    }
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  const serve = (handler: (response: ServerResponse, count: number) => void) => {
    asked = []
    answer = (request, response) => {
      asked.push(request.url ?? '')
      handler(response, asked.length)
    }
  }

  test('takes the answer and the issuer chain in its header', async () => {
    const { content } = await crl(now)
    const pem = `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate).toString('base64')}\n-----END CERTIFICATE-----\n`
    serve((response) => {
      response.setHeader('SGX-PCK-CRL-Issuer-Chain', encodeURIComponent(pem))
      response.end(content)
    })
    const found = await fetchCollateral([list], { services, ...quick })
    assert.deepEqual(found, [
      { kind: 'crl', content },
      { kind: 'certificate', content: certificate },
    ])
    assert.deepEqual(readCollateral(content), [{ kind: 'crl', content }])
  })

  test('waits as long as it is told, and asks again', async () => {
    const { content } = await crl(now)
    const heard: string[] = []
    serve((response, count) => {
      if (count === 1) response.writeHead(429, { 'retry-after': '0.05' }).end()
      else if (count === 2) response.writeHead(503).end()
      else if (count === 3) response.destroy()
      else response.end(content)
    })
    const started = performance.now()
    const onAnswer = (_: CollateralNeed, outcome: string, detail: string) => heard.push(`${outcome} ${detail}`)
    await fetchCollateral([list], { services, ...quick, onAnswer })
    assert.ok(performance.now() - started >= 50)
    assert.equal(asked.length, 4)
    assert.match(heard.join('\n'), /^retrying answered 429.*\nretrying answered 503.*\nretrying .*\nfetched /)
  })

  const failures: readonly (readonly [string, (response: ServerResponse) => void, string, number])[] = [
    ['something that is not there', (response) => response.writeHead(404).end(), 'ERR_COLLATERAL_REFUSED', 1],
    ['a service that does not come back', (response) => response.writeHead(502).end(), 'ERR_COLLATERAL_UNAVAILABLE', 3],
    ['a service that never answers', () => undefined, 'ERR_COLLATERAL_UNAVAILABLE', 3],
    [
      'a redirection elsewhere',
      (response) => response.writeHead(302, { location: 'http://localhost:9/' }).end(),
      'ERR_COLLATERAL_UNAVAILABLE',
      3,
    ],
    [
      'an answer that stops in the middle',
      (response) => {
        response.writeHead(200, { 'content-length': 1000 })
        response.write('half', () => response.destroy())
      },
      'ERR_COLLATERAL_UNAVAILABLE',
      3,
    ],
    [
      'an answer that begins and never ends',
      (response) => void response.writeHead(200).write('0'),
      'ERR_COLLATERAL_UNAVAILABLE',
      3,
    ],
    [
      'an answer of more bytes than are read',
      (response) => response.end(Buffer.alloc(collateralBytesMax + 1)),
      'ERR_COLLATERAL_ANSWER',
      1,
    ],
    ['an answer that is nothing known', (response) => response.end('<!doctype'), 'ERR_COLLATERAL_ANSWER', 1],
    ['an answer of another kind', (response) => response.end(certificate), 'ERR_COLLATERAL_ANSWER', 1],
    [
      'a chain that is not URL-encoded',
      (response) => {
        response.setHeader('TCB-Info-Issuer-Chain', '%E0%A4%A')
        response.end('{}')
      },
      'ERR_COLLATERAL_ANSWER',
      1,
    ],
  ]
  for (const [what, handler, code, count] of failures) {
    test(`refuses ${what}`, async () => {
      serve(handler)
      await assert.rejects(fetchCollateral([list], { services, ...quick, attempts: 3 }), { code })
      assert.equal(asked.length, count)
    })
  }

  test('ends when it is told to', async () => {
    serve((response) => response.writeHead(503).end())
    const controller = new AbortController()
    const fetching = fetchCollateral([list], { services, ...quick, firstPause: 60_000, signal: controller.signal })
    setTimeout(() => controller.abort(), 30)
    await assert.rejects(fetching, { name: 'AbortError' })
  })

  sharedTest(
    'takes manifests and OCSP answers for a GPU, and asks for each once',
    'vectors/nvidia/hopper-gpu',
    async () => {
      const nvidia = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(`vectors/nvidia/${path}`)))
      const { evidence } = recogniseEvidence(nvidia('hopper-gpu/evidence.json'))
      const needs = collateralNeeds(evidence)
      const manifests = needs.filter(({ service }) => service === 'nvidia-rim')
      const questions = needs.filter(({ service }) => service === 'nvidia-ocsp')
      assert.deepEqual([manifests.length, questions.length], [2, 4])
      const rim = nvidia('rim-driver-550/NV_GPU_DRIVER_GH100_550.144.03.xml')
      serve((response) => response.end(JSON.stringify({ id: 'x', rim: Buffer.from(rim).toString('base64') })))
      assert.deepEqual(await fetchCollateral(manifests.slice(0, 1), { services, ...quick }), [
        { kind: 'rim', content: rim },
      ])
      assert.deepEqual(asked, [manifests[0]!.path])
      const posted: [string | undefined, string | undefined, Buffer][] = []
      answer = (request, response) => {
        const parts: Buffer[] = []
        request.on('data', (part: Buffer) => parts.push(part))
        request.on('end', () => {
          posted.push([request.method, request.headers['content-type'], Buffer.concat(parts)])
          response.end('<!doctype html>')
        })
      }
      const asking = fetchCollateral(questions.slice(0, 1), { services, ...quick })
      await assert.rejects(asking, { code: 'ERR_COLLATERAL_ANSWER' })
      assert.deepEqual(posted, [['POST', 'application/ocsp-request', Buffer.from(questions[0]!.body!)]])
    },
  )

  test('does not ask for what is held and stays in force', async () => {
    const held = [await crl(now, now + 1000)]
    assert.deepEqual(missingCollateral([list], held, { now, margin: 1000 }), [])
    assert.deepEqual(missingCollateral([list], held, { now, margin: 1001 }), [list])
    const platform: CollateralNeed = {
      service: 'intel-pcs',
      path: '/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      form: 'der-crl',
    }
    assert.deepEqual(missingCollateral([platform, list], held, { now, margin: 0 }), [platform])
  })
})
