import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Role } from '@cella/documents'
import { fetchReceipt } from '@cella/sdk'
import type { OutputColumn } from '@cella/table'
import type { Cast, Told } from './cast.ts'
import * as cheats from './cheats.ts'
import { chapter, done, say, show, style } from './narrate.ts'
import { founded, introduce, type Party } from './parties.ts'
import { payrolls, sectors } from './payrolls.ts'
import {
  agree,
  type ContractOptions,
  day,
  groupsOfFive,
  now,
  openAndShow,
  publishProgram,
  publishTable,
  runOnce,
} from './story.ts'

const programPath = fileURLToPath(new URL('../programs/pay-gap/pay-gap.wasm', import.meta.url))

/** Three payrolls, one program, twelve ways to cheat. */
export async function payGap({ stage, operator, operatorUrl, folder }: Cast): Promise<Told> {
  const installation = stage.installation()
  const tables = payrolls()
  const make = (name: string, person: string, roles: readonly Role[]): Promise<Party> =>
    founded(
      { name, person, roles },
      { folder: join(folder, 'homes', name.toLowerCase().replaceAll(' ', '-')), installation },
    )

  chapter('Five organisations, each with keys of its own')
  const owners: Party[] = []
  for (const name of ['Manufacturing Employers', 'Construction Employers', 'Other Employers']) {
    owners.push(await make(name, 'Data officer', ['publisher', 'approver']))
  }
  const university = await make('University', 'Labour economist', ['publisher'])
  const office = await make('Labour Office', 'Case officer', ['receiver'])
  await introduce([...owners, university, office])
  done(
    'Three employers’ associations, a university and a labour office: identities, members and terms signed at home and entered into the log.',
  )

  chapter('The university publishes its program')
  const program = await publishProgram(university, {
    path: programPath,
    series: 'pay-gap',
    outputs: ['result', 'gap'],
    rules: { format: 'file', bytesMax: 1_048_576 },
  })
  done(
    `pay-gap.wasm, ${readFileSync(programPath).length} bytes of C: its identity is its digest ${program.digest.slice(0, 16)}…`,
  )

  chapter('Three payrolls that nobody else may see')
  say(
    '534 real workers of the Current Population Survey, May 1985. The survey has no names: those and the staff numbers are made up from a fixed seed.',
  )
  const inputs: ContractOptions['inputs'][number][] = []
  for (const [at, sector] of sectors.entries()) {
    const path = join(folder, `${sector}.csv`)
    writeFileSync(path, tables[sector].csv)
    const owner = owners[at]!
    const { words } = await publishTable(owner, {
      path,
      series: `payroll-${sector}`,
      title: `Payroll 1985, ${sector}`,
      treatments: {
        name: { kind: 'drop' },
        staff_no: { kind: 'drop' },
        race: { kind: 'bucket', map: { white: 'white' }, default: 'other' },
      },
      program: program.digest,
      receiver: office,
      rules: groupsOfFive,
      runs: 10,
      pass: true,
    })
    inputs.push({ name: sector, owner, series: `payroll-${sector}` })
    done(
      `${owner.name}: ${tables[sector].workers} workers (${tables[sector].women} women), sealed at home, key wrapped to the vault after its evidence was appraised.`,
    )
    if (at === 0) {
      show(style.dim('What its policy says, and those of the others alike:'))
      for (const word of words)
        show(style.dim(`  · ${word.replace(/[0-9a-f]{40,}/g, (digits) => `${digits.slice(0, 12)}…`)}`))
      show(
        style.dim(
          '  · Names and staff numbers never reach the program; race reaches it as “white” or “other”; groups below 5 are suppressed.',
        ),
      )
    }
  }

  chapter('A contract, approved by every owner')
  const column = (name: string, type: OutputColumn['type'], role: OutputColumn['role']): OutputColumn => ({
    name,
    type,
    role,
  })
  const contractOptions: ContractOptions = {
    name: 'pay-gap-1985',
    purpose: 'equal pay report',
    program: 'pay-gap',
    arguments: [
      ...sectors.flatMap((sector) => ['--input', sector]),
      '--value',
      'wage',
      '--group',
      'sex',
      '--compare',
      'sex=male:female',
    ],
    inputs,
    outputs: [
      {
        name: 'result',
        declared: {
          format: 'table',
          columns: [
            column('source', 'text', 'group'),
            column('sex', 'text', 'group'),
            column('n', 'integer', 'count'),
            column('mean', 'number', 'value'),
            column('median', 'number', 'value'),
          ],
        },
      },
      {
        name: 'gap',
        declared: {
          format: 'table',
          columns: [
            column('source', 'text', 'group'),
            column('n_a', 'integer', 'count'),
            column('n_b', 'integer', 'count'),
            column('mean_a', 'number', 'value'),
            column('mean_b', 'number', 'value'),
            column('gap_percent', 'number', 'value'),
          ],
        },
      },
    ],
    rules: groupsOfFive,
  }
  const contract = await agree(university, office, contractOptions)
  done(`contract ${contract.slice(0, 16)}…: these three payrolls → this program → the labour office, and nothing else.`)

  chapter('The run')
  const phases: string[] = []
  const run = await runOnce(university, contract, (phase) => phases.push(phase))
  if (run.status !== 'finished')
    throw new Error(`the run ended as ${run.status}: ${run.error?.code} ${run.error?.reasons?.join(', ') ?? ''}`)
  done(phases.join(' → '))

  chapter('The labour office opens the result')
  await openAndShow(office, { contract, run: run.run, name: 'result', folder })
  show('')
  await openAndShow(office, {
    contract,
    run: run.run,
    name: 'gap',
    folder,
    bars: { label: 'source', value: 'gap_percent', title: 'Women’s mean hourly wage below men’s, percent' },
  })

  chapter('… and verifies the receipt, offline')
  const { bytes, verdict } = await fetchReceipt(office.session, { contract, run: run.run })
  const receiptPath = join(folder, 'receipt.json')
  writeFileSync(receiptPath, bytes)
  done(`${verdict.outcome.toUpperCase()}: ${verdict.statements.length} statements hold. The last ones:`)
  for (const { text } of verdict.statements.slice(-4))
    show(style.dim(`  · ${text.replace(/[0-9a-f]{40,}/g, (digits) => `${digits.slice(0, 12)}…`)}`))
  show(style.dim('What it does not prove:'))
  for (const { text } of verdict.notProved.slice(0, 3)) show(style.dim(`  · ${text}`))

  chapter('Night falls, and the operator makes a copy of everything')
  const shortContract = {
    notAfter: now() + 4,
    digest: await agree(university, office, { ...contractOptions, name: 'short', notAfter: now() + 4 }),
  }
  await stage.down()
  const backup = join(folder, 'yesterday')
  cheats.backUp(stage, backup)
  const manager = (await stage.up()).manager
  await repoint([...owners, university, office], manager)
  done('stopped, copied, started again: the vault opened its sealed keys, and no use was lost.')

  const scene: cheats.Scene = {
    stage,
    operator,
    folder,
    author: university,
    receiver: office,
    owners,
    contract,
    contractOptions,
    programPath,
    runsMax: 10,
  }
  await cheats.changedProgram(scene)
  await cheats.swappedPolicy(scene)
  await cheats.swappedReceiver(scene)
  await cheats.flippedBit(scene)
  await cheats.replayedRelease(scene, manager)
  await cheats.unknownMeasurement(scene)
  await cheats.foreignRoot(scene)
  await cheats.demandReal(scene)
  await cheats.eleventhRun(scene)
  await cheats.droppedRevocation(scene, operatorUrl, owners[2]!, contract)
  await stage.down()
  await cheats.restoredYesterday(scene, backup)
  await repoint([university], (await stage.up([`--rehearse-clock=${-30 * day}`])).manager)
  await cheats.clockSetBack(scene, shortContract.digest, shortContract.notAfter)
  return { receiptPath, receiver: office }
}

/** The manager's port may be another after a start. */
async function repoint(parties: readonly Party[], manager: string): Promise<void> {
  for (const { session } of parties) await session.home.saveProfile({ manager })
}
