import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { compilePolicy, type PolicyFlags } from '@cella/policy'
import { Command } from 'commander'
import { UsageError } from './error.ts'
import { addPolicyOptions, type PolicyOptions, policyOf } from './policy-options.ts'

// What each flag permits and refuses is tested where policies are decided; here, that `publish` hands each on as it was said.

const folder = mkdtempSync(join(tmpdir(), 'cella-policy-'))
after(() => rmSync(folder, { recursive: true }))

const idOf = (name: string): Digest => Buffer.from(name).toString('hex').padEnd(64, '0') as Digest
const window = { notBefore: 1_000_000, notAfter: 2_000_000 }

async function policyFrom(args: readonly string[]): Promise<{ policy: string; notes: string[] }> {
  const command = new Command().exitOverride()
  addPolicyOptions(command)
  command.parse([...args], { from: 'user' })
  const notes: string[] = []
  const policy = await policyOf(command.opts<PolicyOptions>(), window, {
    organisation: async (name) => idOf(name),
    program: async (name) => idOf(name),
    note: (text) => notes.push(text),
  })
  return { policy, notes }
}

const account = 'ada'.padEnd(43, '-')
const cases: readonly { args: readonly string[]; flags: PolicyFlags }[] = [
  { args: ['--program', 'Uni/gap'], flags: { programs: [idOf('Uni/gap')] } },
  { args: ['--program', idOf('x')], flags: { programs: [idOf('x')] } },
  { args: ['--publisher', 'Uni'], flags: { publishers: [idOf('Uni')] } },
  { args: ['--account', account], flags: { accounts: [account] } },
  { args: ['--organisation', 'Uni', '--organisation', 'Lab'], flags: { organisations: [idOf('Uni'), idOf('Lab')] } },
  { args: ['--role', 'publisher,auditor'], flags: { roles: ['publisher', 'auditor'] } },
  { args: ['--receiver', 'auditor'], flags: { receiverRoles: ['auditor'] } },
  { args: ['--receiver', 'any'], flags: { receiverRoles: 'any' } },
  { args: ['--receiver-organisation', 'Office'], flags: { receiverOrganisations: [idOf('Office')] } },
  { args: ['--receiver-account', account], flags: { receiverAccounts: [account] } },
  { args: ['--purpose', 'statistics'], flags: { purposes: ['statistics'] } },
  { args: ['--require-source', idOf('Lab')], flags: { sources: [idOf('Lab')] } },
  { args: ['--place', 'eu-north'], flags: { places: ['eu-north'] } },
  { args: ['--tee', 'tdx'], flags: { tees: ['tdx'] } },
  { args: ['--boundary', 'vm'], flags: { boundaries: ['vm'] } },
  { args: ['--chip', 'c0ffee'.repeat(16)], flags: { chips: ['c0ffee'.repeat(16)] } },
  { args: ['--allow-simulated'], flags: { simulated: true } },
  { args: ['--isolation', '2'], flags: { isolation: 2 } },
  { args: ['--runs', '10'], flags: { uses: 10 } },
]

describe('each flag of publish is in the policy', () => {
  for (const { args, flags } of cases) {
    test(args.join(' ').slice(0, 60), async () => {
      const base = args.includes('--program') ? args : [...args, '--program', 'any']
      const { policy } = await policyFrom(base)
      assert.equal(policy, compilePolicy({ programs: 'any', ...window, ...flags }))
      const silent = compilePolicy({ programs: 'any', ...window })
      assert.notEqual(policy, silent)
    })
  }

  test('every flag but those of time has its case', () => {
    const command = new Command()
    addPolicyOptions(command)
    const tried = new Set(cases.flatMap(({ args }) => args.filter((word) => word.startsWith('--'))))
    const untried = command.options.map(({ long }) => long!).filter((long) => !tried.has(long))
    assert.deepEqual(untried, ['--from', '--until', '--days', '--policy'])
  })
})

test('no program is an error, and no receiver is said', async () => {
  await assert.rejects(policyFrom(['--receiver', 'receiver']), UsageError)
  assert.match((await policyFrom(['--program', 'any'])).notes.join(), /nobody may read/)
})

describe('beside a policy of one’s own', () => {
  const file = join(folder, 'own.cedar')
  writeFileSync(file, 'permit(principal, action, resource);')
  for (const { args } of cases) {
    const elsewhereToo = args[0] === '--purpose' || args[0] === '--runs'
    test(`${args[0]} ${elsewhereToo ? 'says something in the manifest' : 'would narrow nothing and is refused'}`, async () => {
      const asked = policyFrom(['--policy', file, ...args])
      if (elsewhereToo) assert.match((await asked).policy, /^permit/)
      else await assert.rejects(asked, { name: 'UsageError', message: new RegExp(`^--policy and ${args[0]} `) })
    })
  }
})
