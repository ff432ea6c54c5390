import { readFileSync } from 'node:fs'

// Every message of the manager's API, and what tries a hostile manager on it. A new one without a line here fails.

/** Tried by `hostile-matrix.test.ts`: in a run of enclaves, or in what clients do (`client-acts.ts`). */
interface Tried {
  readonly route: RegExp
  readonly by: 'run' | 'act'
}

/** Not of the matrix: nobody believes it, or another test is about its answers. */
interface Elsewhere {
  readonly why: string
  readonly test?: readonly [file: string, name: string]
}

const run = (route: RegExp): Tried => ({ route, by: 'run' })
const act = (route: RegExp): Tried => ({ route, by: 'act' })
const operators: Elsewhere = { why: 'for the operator, who asks its own machine' }
const guests: Elsewhere = {
  why: 'between a guest and a vault, encrypted for one session',
  test: ['enclave/vault/src/kbs/front.test.ts', 'runtime data changed after the evidence was made is denied'],
}
const challenges: Elsewhere = {
  why: 'the answer is evidence over the asker’s nonce',
  test: ['client/sdk/src/challenge.test.ts', 'refuses an answer with'],
}
const streams: Elsewhere = {
  why: 'events say where to look, and nothing is believed of them',
  test: ['client/sdk/src/manager/client.test.ts', 'of a wrong form are refused, and a stream that says nothing ends'],
}
const signers: Elsewhere = {
  why: 'a log signer’s own statements, of installations that have one',
  test: [
    'test/log-signer.test.ts',
    'a statement binds the key to the code; one that is made up, replayed or of other code is not taken',
  ],
}
const joins: Elsewhere = {
  why: 'what a vault asks of its host when another joins it',
  test: [
    'enclave/vault/src/join/join.test.ts',
    'terms that were replaced let nobody in, though the host hides the new ones',
  ],
}
const brokers: Elsewhere = {
  why: 'calls to a vault at home, passed on; the vault judges them as any other does',
  test: ['test/broker.test.ts', 'a hostile manager between the home and the others'],
}
const vaultHosts: Elsewhere = {
  why: 'what a vault asks of its host for a guest',
  test: [
    'enclave/vault/src/kbs/front.test.ts',
    'a log that does not answer, or a ciphertext that is another: nothing is handed out',
  ],
}

/** Method and path as in /openapi.json; of a vault's calls each by itself. */
export const messages: Readonly<Record<string, Tried | Elsewhere>> = {
  'get /v1/info': act(/^\/v1\/info$/),
  'get /healthz': operators,
  'get /readyz': operators,
  'get /metrics': operators,
  'get /openapi.json': operators,
  'post /v1/documents': act(/^\/v1\/documents$/),
  'get /v1/documents': act(/^\/v1\/documents\?/),
  'get /v1/documents/{digest}': act(/^\/v1\/documents\/[0-9a-f]/),
  'get /v1/assets': act(/^\/v1\/assets\?/),
  'post /v1/uploads': act(/^\/v1\/uploads$/),
  'put /v1/uploads': run(/^\/v1\/uploads\?sha256/),
  'put /v1/uploads/{upload}': act(/^\/v1\/uploads\/[^/]+\?offset/),
  'get /v1/uploads/{upload}': {
    why: 'asked where an answer was lost',
    test: ['client/sdk/src/manager/client.test.ts', 'go on where a broken connection left them'],
  },
  'post /v1/uploads/{upload}/complete': act(/^\/v1\/uploads\/[^/]+\/complete$/),
  'post /v1/uploads/{upload}/cancel': {
    why: 'sent where an upload failed, with nothing in its answer',
    test: ['client/sdk/src/manager/client.test.ts', 'dropped where their source is lent'],
  },
  'get /v1/blobs/{sha256}': run(/^\/v1\/blobs\//),
  'post /v1/bodies': run(/^\/v1\/bodies$/),
  'post /v1/bodies/read': act(/^\/v1\/bodies\/read$/),
  'post /v1/bodies/erase': {
    why: 'after the entry that says so, with nothing in its answer',
    test: [
      'enclave/vault/src/events.test.ts',
      'an erased body is gone, named as erased, and everything else still verifies',
    ],
  },
  'post /v1/contracts/{digest}/runs': act(/^\/v1\/contracts\/[^/]+\/runs$/),
  'get /v1/runs': act(/^\/v1\/runs\?/),
  'get /v1/runs/{contract}/{run}': act(/^\/v1\/runs\/[^/]+\/\d+$/),
  'post /v1/runs/{contract}/{run}/cancel': act(/\/cancel$/),
  'get /v1/runs/{contract}/{run}/events': streams,
  'get /v1/runs/{contract}/{run}/receipt': act(/^\/v1\/runs\/[^/]+\/\d+\/receipt$/),
  'get /v1/runs/{contract}/{run}/outputs': act(/\/outputs$/),
  'post /v1/worker/poll': run(/^\/v1\/worker\/poll$/),
  'post /v1/worker/leases/{lease}/renew': run(/\/renew$/),
  'post /v1/worker/leases/{lease}/receipt': run(/\/leases\/\d+\/receipt$/),
  'get /v1/worker/leases/{lease}/receipts': {
    why: 'read where an attempt before this one left a draft',
    test: ['enclave/worker/src/attempt.test.ts', 'drafts that the host made up are passed over'],
  },
  'post /v1/worker/leases/{lease}/outcome': run(/\/outcome$/),
  'get /v1/log/checkpoint': act(/^\/v1\/log\/checkpoint$/),
  'get /v1/log/news': run(/^\/v1\/log\/news\?/),
  'get /v1/log/receipt': {
    why: 'a signed receipt of one entry, verified by whoever reads it',
    test: ['client/verify/src/judge-file.test.ts', 'a COSE receipt by the key in the policy'],
  },
  'get /v1/log/signers': signers,
  'post /v1/log/signer/challenge': signers,
  'get /v1/log/tile/{*}': act(/^\/v1\/log\/tile\//),
  'post /v1/log/entries': run(/^\/v1\/log\/entries(?:\?|$)/),
  'post /v1/vaults/{id}/challenge': act(/\/challenge$/),
  'post /v1/vaults/{id}/kek': act(/\/kek$/),
  'post /v1/vaults/{id}/reading': act(/\/reading$/),
  'post /v1/vaults/{id}/nonce': run(/\/nonce$/),
  'post /v1/vaults/{id}/decide': run(/\/decide$/),
  'post /v1/vaults/{id}/release': run(/\/release$/),
  'post /v1/vaults/{id}/stream-key': act(/\/stream-key$/),
  'post /v1/vaults/{id}/erase': act(/\/vaults\/[^/]+\/erase$/),
  'post /v1/vaults/{id}/rotate': act(/\/rotate$/),
  'post /v1/workers/{name}/challenge': challenges,
  'get /v1/workers': challenges,
  'post /v1/worker/challenges/poll': {
    why: 'it asks for evidence, which is over its nonce and good for no key',
    test: ['enclave/worker/src/challenges.test.ts', 'whatever a manager asks, it is answered a challenge alone'],
  },
  'post /v1/worker/challenges/{id}': {
    why: 'its answer is not read; what it carries is judged by who asked, also by the manager',
    test: [
      'host/manager/src/queue/worker-evidence.test.ts',
      'an answer of which anything was changed is refused by name, or says the same',
    ],
  },
  'get /v1/terms/{organisation}': joins,
  'post /v1/joins': joins,
  'post /v1/broker/poll': brokers,
  'post /v1/broker/calls/{id}': brokers,
  'get /v1/secrets/{organisation}/{series}/{revision}': vaultHosts,
  'post /v1/secrets/decisions': vaultHosts,
  ...Object.fromEntries(
    ['/kbs/v0', '/v1/vaults/{id}/kbs/v0'].flatMap((at) =>
      ['post auth', 'post attest', 'get resource/{organisation}/{series}/{revision}'].map((call) => {
        const [method, path] = call.split(' ')
        return [`${method} ${at}/${path}`, guests]
      }),
    ),
  ),
  'get /v1/inbox': act(/^\/v1\/inbox$/),
  'get /v1/events': streams,
  'post /v1/webhooks': act(/^\/v1\/webhooks$/),
  'get /v1/webhooks': act(/^\/v1\/webhooks$/),
  'post /v1/webhooks/{webhook}/remove': act(/\/remove$/),
}

/** What an installation describes, in the same words. */
export async function describedMessages(manager: string): Promise<string[]> {
  const answer = await fetch(`${manager}/openapi.json`)
  const { paths } = (await answer.json()) as {
    paths: Record<string, Record<string, { parameters?: { name: string; schema: { enum?: string[] } }[] }>>
  }
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [] }]) => {
      const calls = parameters.find(({ name }) => name === 'call')?.schema.enum ?? ['{call}']
      return path.includes('{call}')
        ? calls.map((call) => `${method} ${path.replace('{call}', call)}`)
        : [`${method} ${path}`]
    }),
  )
}

/** Names of tests that are not where the list says. */
export function missingTests(): string[] {
  return Object.entries(messages).flatMap(([name, message]) => {
    const [file, test] = ('test' in message && message.test) || []
    if (file === undefined || test === undefined) return []
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
    return text.includes(test) ? [] : [`${name}: ${file} has no test “${test}”`]
  })
}

/** The messages that the matrix tries in runs, or in acts of clients. */
export function triedBy(by: Tried['by']): [name: string, route: RegExp][] {
  return Object.entries(messages).flatMap(([name, message]) => {
    return 'route' in message && message.by === by ? [[name, message.route]] : []
  })
}
