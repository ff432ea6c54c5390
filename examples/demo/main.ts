import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, extname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Digest } from '@cella/bytes'
import { diagnosticsName, fetchReceipt, openOutput, receiptOf } from '@cella/sdk'
import type { OutputColumn } from '@cella/table'
import { buildEnclaves, signBuilds } from '../../scripts/build-enclave.ts'
import * as cheats from './cheats.ts'
import { chapter, done, say, show, style } from './narrate.ts'
import { Operator } from './operator.ts'
import { founded, introduce, type Party } from './parties.ts'
import { payrolls, sectors } from './payrolls.ts'
import { Stage } from './stage.ts'
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

const root = fileURLToPath(new URL('../..', import.meta.url))
const usage = `npm run demo                                          three payrolls, one program, twelve ways to cheat
npm run demo -- --data FOLDER --program FILE          your own tables (one owner a file) and WASI program

  --data FOLDER        CSV, TSV, JSON Lines or Parquet files; each is published by an owner of its own
  --program FILE       WASI preview 1 module; it reads /in/NAME for each file and writes /out/OUTPUT
  --arguments TEXT     its arguments, separated by spaces; {inputs} becomes "--input NAME" for each file
  --output NAME        an output that it writes (default: result); may be given several times
  --columns LIST       its columns as name:type:role, separated by commas; types text integer number boolean date, roles
                       group count value. With a count column, groups below 5 are suppressed. Default: a file
  --folder FOLDER      where everything goes (default: .cella/demo)

Example:
  npm run demo -- --data hospitals --program examples/programs/pay-gap/pay-gap.wasm \\
    --arguments "{inputs} --value chol --group sex" --columns source:text:group,sex:integer:group,n:integer:count,mean:number:value,median:number:value`

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    program: { type: 'string' },
    arguments: { type: 'string', default: '' },
    output: { type: 'string', multiple: true },
    columns: { type: 'string' },
    folder: { type: 'string', default: join(root, '.cella/demo') },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(usage)
  process.exit(0)
}
if ((values.data === undefined) !== (values.program === undefined)) {
  console.error(`error: --data and --program go together\nhint: ${usage}`)
  process.exit(2)
}

const folder = resolve(values.folder)
const marker = join(folder, 'demo.json')
if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(marker)) {
  console.error(`error: ${folder} is not empty and was not made by the demo\nhint: give another one with --folder`)
  process.exit(2)
}
if (existsSync(marker) && isAlive(JSON.parse(readFileSync(marker, 'utf8')).pid)) {
  console.error(`error: another demo runs in ${folder}\nhint: wait for it, or give another folder with --folder`)
  process.exit(1)
}
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true, mode: 0o700 })
writeFileSync(marker, JSON.stringify({ format: 'cella-demo/1', pid: process.pid }))

const stageFolder = join(folder, 'operator')
const operator = new Operator(() => JSON.parse(readFileSync(join(stageFolder, 'status.json'), 'utf8')).manager)
const operatorUrl = await operator.listen()
const enclaves = join(folder, 'enclaves')
const stageOptions = ['--port', '0', '--local-witnesses', '3', '--manager-url', operatorUrl, '--enclaves', enclaves]
let stage = new Stage(stageFolder, stageOptions)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    void stage.down().finally(() => process.exit(130))
  })
}
try {
  await tell()
} catch (error) {
  console.error(`\n${style.red('error:')} ${error instanceof Error ? error.message : String(error)}`)
  if (error instanceof cheats.NotRefused)
    console.error('A trick of the operator was not refused: this is a bug, please report it.')
  const { hint } = error as { hint?: string }
  console.error(`hint: ${hint ?? `logs of all processes are in ${join(stageFolder, 'logs')}`}`)
  process.exitCode = 1
} finally {
  await stage.down()
  await operator.close()
  writeFileSync(marker, JSON.stringify({ format: 'cella-demo/1', pid: -1 }))
}

async function tell(): Promise<void> {
  chapter('An operator’s machine comes up')
  await signBuilds(enclaves, await buildEnclaves(enclaves))
  const installation = await stage.up()
  done(
    'PostgreSQL, a transparency log with three witnesses, a manager, a vault enclave and a worker enclave: processes of their own.',
  )
  say(
    style.yellow(
      'The TEE is SIMULATED: real formats, a root made just now on this machine. It protects nothing from whoever runs this machine. All witnesses run under one user: nobody independent watches.',
    ),
  )
  await (values.data === undefined ? payGap(installation) : ownFiles(installation))
}

async function payGap(installation: ReturnType<Stage['installation']>): Promise<void> {
  const programPath = join(root, 'examples/programs/pay-gap/pay-gap.wasm')
  const tables = payrolls()
  const make = (name: string, person: string, roles: Parameters<typeof founded>[0]['roles']): Promise<Party> =>
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
  stage = new Stage(stageFolder, [...stageOptions, `--rehearse-clock=${-30 * day}`])
  await repoint([university], (await stage.up()).manager)
  await cheats.clockSetBack({ ...scene, stage }, shortContract.digest, shortContract.notAfter)
  theEnd(receiptPath)
}

function isAlive(pid: number): boolean {
  if (pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The manager's port may be another after a start. */
async function repoint(parties: readonly Party[], manager: string): Promise<void> {
  for (const { session } of parties) await session.home.saveProfile({ manager })
}

async function ownFiles(installation: ReturnType<Stage['installation']>): Promise<void> {
  const dataFolder = resolve(values.data!)
  const programPath = resolve(values.program!)
  const known = ['.csv', '.tsv', '.txt', '.data', '.jsonl', '.ndjson', '.parquet']
  const files = readdirSync(dataFolder)
    .filter((file) => known.includes(extname(file).toLowerCase()))
    .sort()
  if (files.length === 0) throw new Error(`${dataFolder} holds no table (${known.join(', ')})`)
  const columns = values.columns?.split(',').map((text): OutputColumn => {
    const [name, type, role] = text.split(':')
    return { name: name ?? '', type: type as OutputColumn['type'], role: role as OutputColumn['role'] }
  })
  const counted = columns?.some(({ role }) => role === 'count')
  const { minimumGroupSize: _, ...withoutGroups } = groupsOfFive as typeof groupsOfFive & { minimumGroupSize?: number }
  const rules: ContractOptions['rules'] =
    columns === undefined
      ? { format: 'file', bytesMax: 1_048_576 }
      : counted
        ? groupsOfFive
        : (withoutGroups as ContractOptions['rules'])

  chapter(`${files.length} owners, a program author and a receiver`)
  const at = (name: string): string => join(folder, 'homes', name)
  const author = await founded(
    { name: 'Program author', person: 'Author', roles: ['publisher'] },
    { folder: at('author'), installation },
  )
  const receiver = await founded(
    { name: 'Receiver', person: 'Receiver', roles: ['receiver'] },
    { folder: at('receiver'), installation },
  )
  const outputs = values.output ?? ['result']
  const program = await publishProgram(author, {
    path: programPath,
    series: 'program',
    outputs,
    rules: { format: 'file', bytesMax: 1_048_576 },
  })
  const inputs: ContractOptions['inputs'][number][] = []
  for (const file of files) {
    const name =
      basename(file, extname(file))
        .toLowerCase()
        .replace(/[^a-z0-9._-]+/g, '-')
        .replace(/^[^a-z0-9]+/, '') || `table-${inputs.length + 1}`
    const owner = await founded(
      { name: `Owner of ${file}`, person: 'Owner', roles: ['publisher', 'approver'] },
      { folder: at(name), installation },
    )
    await introduce([owner, receiver, author])
    const { rows } = await publishTable(owner, {
      path: join(dataFolder, file),
      series: name,
      title: file,
      treatments: {},
      program: program.digest,
      receiver,
      rules,
      runs: 10,
      pass: true,
    })
    inputs.push({ name, owner, series: name })
    done(`${file}: ${rows} rows, sealed and published by an owner of its own`)
  }
  chapter('Contract, approvals, run')
  const parameters = values.arguments.split(' ').filter((word) => word !== '')
  const contract = await agree(author, receiver, {
    name: 'own-files',
    program: 'program',
    arguments: parameters.flatMap((word) =>
      word === '{inputs}' ? inputs.flatMap(({ name }) => ['--input', name]) : [word],
    ),
    inputs,
    outputs: outputs.map((name) => ({
      name,
      declared: columns === undefined ? { format: 'file' } : { format: 'table', columns },
    })),
    rules,
    diagnostics: true,
  })
  const run = await runOnce(author, contract)
  if (run.status !== 'finished')
    throw new Error(`the run ended as ${run.status}: ${run.error?.code} ${run.error?.reasons?.join(', ') ?? ''}`)
  const { bytes, bundle, verdict } = await fetchReceipt(receiver.session, { contract, run: run.run })
  const { status } = receiptOf(bundle)
  if (status !== 'ok') await showDiagnostics(receiver, { contract, run: run.run, status })
  chapter('The receiver opens the result')
  for (const name of outputs) await openAndShow(receiver, { contract, run: run.run, name, folder })
  const receiptPath = join(folder, 'receipt.json')
  writeFileSync(receiptPath, bytes)
  done(`receipt ${verdict.outcome}: ${verdict.statements.length} statements hold`)
  theEnd(receiptPath)
}

/** The program failed: what it said is for the receiver, and for nobody at the operator's. */
async function showDiagnostics(
  receiver: Party,
  { contract, run, status }: { contract: Digest; run: number; status: string },
): Promise<never> {
  const opened = await openOutput(receiver.session, { contract, run, name: diagnosticsName })
  const { stdout, stderr, exitCode } = JSON.parse(new TextDecoder().decode(opened.bytes))
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8').trim()
  throw new Error(
    `the program ended as “${status}” (exit code ${exitCode}): ${text(stderr) || text(stdout) || 'it said nothing'}`,
  )
}

function theEnd(receiptPath: string): void {
  chapter('Where everything lies')
  show(`${folder}`)
  show(`  operator/     what the operator has: database, log, ciphertext, sealed enclave state, logs of all processes`)
  show(`  homes/        one home for each party: keys, anchors, what it saw of the log`)
  show(
    `  ${basename(receiptPath)}  the receipt; in years to come:  npx cella verify ${inShell(receiptPath)} --home ${inShell(join(folder, 'homes', values.data === undefined ? 'labour-office' : 'receiver'))}`,
  )
  show('')
  show('With your own files:  npm run demo -- --data FOLDER --program FILE   (--help shows more)')
  show('By hand:              npx cella up, then docs/tutorial.md')
}

/** A path as it can be pasted into a shell. */
function inShell(path: string): string {
  return /^[\w./:@%+,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}
