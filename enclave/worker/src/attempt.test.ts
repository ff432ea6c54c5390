import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { contractOf, smallContents } from '@cella/testing/scenario'
import {
  type Installation,
  install,
  openOutput,
  payGap,
  realSandbox,
  receiptOf,
  recordingSandbox,
} from '../test/workers.ts'
import type { WorkerErrorCode } from './index.ts'

const fails = (attempt: Promise<unknown>, code: WorkerErrorCode): Promise<void> =>
  assert.rejects(attempt, (error: { code: string; message: string }) => {
    assert.equal(error.code, code, error.message)
    // What a cell holds is in no message.
    assert.doesNotMatch(error.message, /Ada|Bo\b|canary/)
    return true
  })

const receipts = ({ here }: Installation) => here.host.calls.filter((call) => call.endsWith('/receipt')).length

test('a program in the real sandbox computes on what the owner lets it see, for the receiver alone', async (context) => {
  const contents = {
    ...smallContents,
    module: new Uint8Array(payGap),
    arguments: ['--input', 'wages', '--value', 'wage', '--group', 'sector'],
  }
  const columns = [
    { name: 'source', type: 'text', role: 'group' },
    { name: 'sector', type: 'text', role: 'group' },
    { name: 'n', type: 'integer', role: 'count' },
    { name: 'mean', type: 'number', role: 'value' },
    { name: 'median', type: 'number', role: 'value' },
  ] as const
  const installation = await installDeclaring(context, contents, columns)
  const outcome = await installation.attempt({ sandbox: realSandbox(context) })
  const receipt = receiptOf(outcome)
  assert.equal(receipt.status, 'ok')
  assert.equal(receipt.program.digest, digestOf(payGap))
  assert.equal(receipt.simulated, true)
  const text = await openOutput(installation, outcome, { name: 'result', member: installation.scenario.author })
  assert.equal(text, 'source,sector,n,mean,median\nwages,a,2,15,15\nwages,b,2,35,35\n')
  assert.equal((outcome.bundle as { format: string }).format, 'cella-receipt/1')
})

async function installDeclaring(
  context: Parameters<typeof install>[0],
  contents: typeof smallContents,
  columns: readonly { name: string; type: 'text' | 'integer' | 'number'; role: 'group' | 'count' | 'value' }[],
): Promise<Installation> {
  const installation = await install(context, { contents })
  const { scenario, vault } = installation
  const members = contractOf({ ...scenario, vault: vault.id as never, contents })
  const [output] = members.outputs
  const contract = await scenario.world.signed(scenario.author, 'cella/contract', {
    ...members,
    outputs: [{ ...output!, declared: { format: 'table', columns: [...columns] } }],
    log: scenario.world.log.origin,
    ...scenario.world.window(),
  })
  const window = scenario.world.window()
  await scenario.world.signed(scenario.approver, 'cella/approval', { contract: contract.digest, runs: 3, ...window })
  Object.assign(scenario, { contract })
  return installation
}

test('a program reads what the treatments left: a dropped column never reaches it', async (context) => {
  const installation = await install(context)
  const sandbox = recordingSandbox()
  await installation.attempt({ sandbox })
  assert.equal(sandbox.read.get('wages'), 'sector,wage\na,10\na,20\nb,30\nb,40\n')
})

test('every flipped bit of a ciphertext or its tree is refused before any program runs', async (context) => {
  const installation = await install(context)
  const { scenario, here } = installation
  const { sealed, outboard } = scenario.world.locations[scenario.data.digest]!
  const sandbox = recordingSandbox()
  let run = 0
  for (const [blob, places] of [
    [sealed, [0, 40, 79, 80, 100, -1]],
    [outboard, [0, 33, -1]],
  ] as const) {
    const bytes = here.host.blobs.get(blob)!
    for (const place of places) {
      const flipped = bytes.slice()
      flipped[(place + bytes.length) % bytes.length]! ^= 1
      here.host.blobs.set(blob, flipped)
      run = (run % 3) + 1
      await fails(installation.attempt({ sandbox, run }), 'ERR_INPUT_NOT_OPENED')
    }
    for (const cut of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)]), new Uint8Array(0)]) {
      here.host.blobs.set(blob, cut)
      await fails(installation.attempt({ sandbox }), 'ERR_INPUT_NOT_OPENED')
    }
    here.host.blobs.set(blob, bytes)
  }
  assert.equal(sandbox.runs, 0)
  assert.equal(receipts(installation), 0)
})

test('a ciphertext that is missing, or of another asset, is refused', async (context) => {
  const installation = await install(context)
  const { world, data, program } = installation.scenario
  const sandbox = recordingSandbox()
  const place = world.locations[data.digest]!
  world.locations[data.digest] = world.locations[program.digest]!
  await fails(installation.attempt({ sandbox }), 'ERR_INPUT_NOT_OPENED')
  delete world.locations[data.digest]
  await fails(installation.attempt({ sandbox }), 'ERR_INPUT_NOT_OPENED')
  world.locations[data.digest] = place
  installation.here.host.blobs.delete(place.sealed)
  await fails(installation.attempt({ sandbox }), 'ERR_INPUT_NOT_OPENED')
  assert.equal(sandbox.runs, 0)
})

test('a program of other bytes than its digest is refused, though its publisher sealed it', async (context) => {
  const digest = 'ab'.repeat(32)
  const program = {
    runtime: 'wasi-preview1',
    digest: digest as never,
    source: 'open',
    outputs: [{ name: 'result', declared: null }],
    sbom: null,
  } as const
  const installation = await install(context, {
    change: { program: { program: { ...program, outputs: [...program.outputs] } }, policy: { programs: [digest] } },
  })
  const sandbox = recordingSandbox()
  await fails(installation.attempt({ sandbox }), 'ERR_PROGRAM_DIGEST')
  assert.equal(sandbox.runs, 0)
})

test('a table that is not what its manifest says is refused without a word of it', async (context) => {
  for (const table of ['name,sector,wage\nAda,a,lots\n', 'name,sector\nAda,a\n', 'Ada\n', '']) {
    const installation = await install(context, { contents: { ...smallContents, table: encodeUtf8(table) } })
    await fails(installation.attempt({ sandbox: recordingSandbox() }), 'ERR_INPUT_NOT_OPENED')
  }
})

test('diagnostics go to nobody unless the contract names readers', async (context) => {
  const installation = await install(context)
  const outcome = await installation.attempt()
  assert.deepEqual(
    outcome.outputs.map(({ name }) => name),
    ['result'],
  )
  for (const bytes of installation.here.host.received) assert.ok(!Buffer.from(bytes).includes('canary'))
})

test('diagnostics are sealed to the readers that the contract names, and say nothing to the host', async (context) => {
  const installation = await install(context)
  const { scenario, vault } = installation
  const { world, author } = scenario
  const diagnostics = [
    { organisation: author.party.id, role: 'receiver' as const, membership: author.membership.digest },
  ]
  const members = { ...contractOf({ ...scenario, vault: vault.id as never }), diagnostics, log: world.log.origin }
  const contract = await world.signed(author, 'cella/contract', { ...members, ...world.window() })
  await world.signed(scenario.approver, 'cella/approval', { contract: contract.digest, runs: 3, ...world.window() })
  Object.assign(scenario, { contract })
  const outcome = await installation.attempt()
  const text = await openOutput(installation, outcome, { name: 'cella-diagnostics', member: author })
  const { stdout, fuelUsed } = JSON.parse(text)
  assert.equal(Buffer.from(stdout, 'base64').toString(), 'stdout canary')
  assert.equal(fuelUsed, '1234')
  for (const bytes of [...installation.here.host.received, ...installation.here.host.blobs.values()]) {
    assert.ok(!Buffer.from(bytes).includes('canary'))
  }
})

const metered: [used: bigint, shown: number][] = [
  [0n, 0],
  [1n, 1],
  [3n, 4],
  [1024n, 1024],
  [1025n, 2048],
  [(1n << 49n) + 1n, 2 ** 50],
  [(1n << 53n) - 1n, Number.MAX_SAFE_INTEGER],
]
test('metering in the receipt is rounded up to powers of two', async (context) => {
  for (const [fuelUsed, shown] of metered) {
    const sandbox = recordingSandbox()
    const { run } = sandbox
    sandbox.run = async (job) => {
      const result = await run(job)
      return { ...result, diagnostics: { ...result.diagnostics, fuelUsed } }
    }
    const { resources } = receiptOf(await (await install(context)).attempt({ sandbox }))
    assert.deepEqual([resources.fuel, resources.memoryPages], [shown, 4])
  }
})

for (const status of ['trap', 'exit-nonzero', 'out-of-fuel', 'output-too-large', 'deadline'] as const) {
  test(`a run that ends in ${status} has a receipt, that status, and no output`, async (context) => {
    const installation = await install(context)
    const sandbox = recordingSandbox()
    sandbox.answer = () => ({ status, outputs: new Map([['result', encodeUtf8('sector,n\ncanary,2\n')]]) })
    const outcome = await installation.attempt({ sandbox })
    assert.equal(receiptOf(outcome).status, status)
    assert.deepEqual([outcome.outputs.length, receiptOf(outcome).outputs.length], [0, 0])
  })
}

const refusedOutputs: { name: string; text: string }[] = [
  { name: 'another column', text: 'sector,n,name\na,2,Ada\n' },
  { name: 'no header', text: 'a,2\n' },
  { name: 'a cell of another type', text: 'sector,n\na,two\n' },
  { name: 'nothing', text: '' },
]
for (const { name, text } of refusedOutputs) {
  test(`an output with ${name} is refused as a whole`, async (context) => {
    const outcome = await (await install(context)).attempt({ sandbox: recordingSandbox(text) })
    assert.equal(receiptOf(outcome).status, 'output-refused')
    assert.equal(outcome.outputs.length, 0)
  })
}

test('an output of more bytes than the rules let has that status, and nothing of it leaves', async (context) => {
  const sandbox = recordingSandbox(`sector,n\n${`${'x'.repeat(60_000)},2\n`.repeat(2)}`)
  const outcome = await (await install(context)).attempt({ sandbox })
  assert.equal(receiptOf(outcome).status, 'output-too-large')
  assert.equal(outcome.outputs.length, 0)
})

test('a group smaller than an owner’s least is suppressed', async (context) => {
  const outputRules = {
    format: 'table',
    bytesMax: 65_536,
    rowsMax: 100,
    columns: 'any-declared',
    minimumGroupSize: 5,
    suppress: 'row-values',
  } as const
  const installation = await install(context, { change: { manifest: { outputRules } } })
  const outcome = await installation.attempt({ sandbox: recordingSandbox('sector,n\na,5\nb,4\n') })
  const text = await openOutput(installation, outcome, { name: 'result', member: installation.scenario.author })
  assert.equal(text, 'sector,n\na,5\nb,\n')
  assert.equal(receiptOf(outcome).outputs[0]!.suppressed, 1)
})

test('a lost runner, or one that isolates less than said, ends the attempt without a receipt', async (context) => {
  const installation = await install(context)
  const sandbox = recordingSandbox()
  sandbox.answer = () => ({ status: 'runner-lost' })
  await fails(installation.attempt({ sandbox }), 'ERR_RUNNER_LOST')
  sandbox.answer = () => ({ isolation: { level: 1, layers: [] } })
  await fails(installation.attempt({ sandbox, attempt: 2 }), 'ERR_ISOLATION')
  assert.equal(receipts(installation), 0)
})

test('an attempt after one whose receipt is in the log hands over that one, with keys that open its outputs', async (context) => {
  const installation = await install(context)
  const first = await installation.attempt()
  const second = await installation.attempt({ attempt: 2 })
  const documentOf = (outcome: typeof first) =>
    (outcome.bundle as unknown as { receipt: { document: string } }).receipt.document
  assert.equal(documentOf(second), documentOf(first))
  assert.equal(receiptOf(second).attempt, 1)
  const member = installation.scenario.author
  const text = await openOutput(installation, second, { name: 'result', member })
  assert.equal(text, await openOutput(installation, first, { name: 'result', member }))
})

test('an attempt whose outputs are others than those in the log hands over nothing', async (context) => {
  const installation = await install(context)
  await installation.attempt()
  await fails(
    installation.attempt({ attempt: 2, sandbox: recordingSandbox('sector,n\na,3\nb,1\n') }),
    'ERR_RUN_HAS_OUTCOME',
  )
  installation.here.host.drafts.splice(0)
  await fails(installation.attempt({ attempt: 3 }), 'ERR_RUN_HAS_OUTCOME')
})

test('drafts that the host made up are passed over', async (context) => {
  const installation = await install(context)
  const first = await installation.attempt()
  const { drafts } = installation.here.host
  const genuine = structuredClone(drafts[0]) as { receipt: { leaf: string; salt: string; document: string } }
  const other = { ...genuine.receipt, leaf: Buffer.alloc(64, 7).toString('base64url') }
  drafts.unshift(
    null,
    {},
    'draft',
    { ...genuine, receipt: other },
    {
      ...genuine,
      receipt: { ...genuine.receipt, document: '{}' },
    },
  )
  const second = await installation.attempt({ attempt: 2 })
  assert.deepEqual(receiptOf(second), receiptOf(first))
})

for (const phase of ['receipt', 'hand-over']) {
  test(`what is withdrawn before the phase “${phase}” ends keeps the output keys here`, async (context) => {
    const installation = await install(context)
    const { world, grant } = installation.scenario
    const { log } = installation.here
    // The host appends; the worker reads it with its next checkpoint.
    const sandbox = recordingSandbox()
    const usual = sandbox.run
    if (phase === 'receipt') {
      sandbox.run = async (job) => {
        const result = await usual(job)
        await world.revoke(grant.digest)
        return result
      }
    } else {
      const append = log.append.bind(log)
      log.append = async (leaves) => {
        // Just before the receipt's leaf.
        if (leaves[0]![1] === 6 && world.envelopes.has(grant.digest)) {
          world.envelopes.delete(grant.digest)
          await world.revoke(grant.digest)
        }
        return append(leaves)
      }
    }
    await fails(installation.attempt({ sandbox }), 'ERR_OUTPUT_WITHHELD')
  })
}

test('a refusal of the vault carries its decisions and codes, and nothing was fetched', async (context) => {
  const installation = await install(context, { change: { approval: null } })
  await assert.rejects(installation.attempt(), (error: { code: string; reasons: string[]; decisions: string[] }) => {
    assert.deepEqual(
      [error.code, error.reasons, error.decisions.length],
      ['ERR_RELEASE_REFUSED', ['ERR_APPROVAL_MISSING'], 2],
    )
    return true
  })
  assert.ok(!installation.here.host.calls.some((call) => call.includes('/blobs/')))
})
