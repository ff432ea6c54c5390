import assert from 'node:assert/strict'
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
  encodeCollateral,
  readCollateral,
  recogniseEvidence,
} from '@cella/evidence'
import { sharedPath, sharedTest } from '@cella/testing'
import { certificate, collateralSuite, crl, now } from '../test/store-suite.ts'
import { type CollateralServices, fetchCollateral, missingCollateral, openCollateralFolder } from './index.ts'

describe('a folder of collateral', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cella-collateral-'))
  })
  after(() => rm(folder, { recursive: true }))
  collateralSuite(async (name) => openCollateralFolder(join(folder, name)))

  test('refuses a file that is not what its name says, or nothing that is known', async () => {
    const inside = join(folder, 'files')
    const store = openCollateralFolder(inside)
    await store.add([await crl(now)])
    const [name = ''] = await readdir(inside)
    const bytes = await readFile(join(inside, name))
    for (const [other, content] of [
      [name, Uint8Array.from(bytes, (byte, at) => (at === 40 ? byte ^ 1 : byte))],
      [name.replace('.crl', '.der'), bytes],
      ['notes.txt', Buffer.from('mine')],
    ] as const) {
      await writeFile(join(inside, other), content)
      await assert.rejects(store.pieces(), { code: 'ERR_COLLATERAL_FOLDER' }, other)
      await rm(join(inside, other))
    }
    // Hidden ones are nobody's business; what others put there is read by its content.
    await writeFile(join(inside, '.notes'), 'mine')
    await writeFile(
      join(inside, 'from-elsewhere.json'),
      encodeCollateral([{ kind: 'certificate', content: certificate }]),
    )
    assert.deepEqual(
      (await store.pieces()).map(({ kind }) => kind),
      ['certificate'],
    )
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
      // What is final was read whole, which may take a busy machine a while.
      const timeout = count === 1 ? 10_000 : quick.timeout
      await assert.rejects(fetchCollateral([list], { services, ...quick, timeout, attempts: 3 }), { code })
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
      assert.equal(asked.at(-1), manifests[0]!.path)
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
