import { readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildEnclaves, signBuilds } from '../../scripts/build-enclave.ts'
import { type Cast, DemoError } from './cast.ts'
import { NotRefused } from './cheats.ts'
import { claim, release } from './folder.ts'
import { chapter, done, say, show, style } from './narrate.ts'
import { Operator } from './operator.ts'
import { type OwnFiles, ownFiles, ownFilesOf } from './own-files.ts'
import { payGap } from './pay-gap.ts'
import { Stage } from './stage.ts'

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

const options = {
  data: { type: 'string' },
  program: { type: 'string' },
  arguments: { type: 'string', default: '' },
  output: { type: 'string', multiple: true },
  columns: { type: 'string' },
  folder: { type: 'string', default: join(root, '.cella/demo') },
  help: { type: 'boolean', default: false },
} as const

let folder: string
let own: OwnFiles | undefined
try {
  const { values } = parseArgs({ options })
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const { data, program } = values
  if ((data === undefined) !== (program === undefined)) {
    throw new DemoError('--data and --program go together', 'give both, or none')
  }
  if (data !== undefined && program !== undefined) {
    own = ownFilesOf({ data, program, arguments: values.arguments, output: values.output, columns: values.columns })
  }
  folder = resolve(values.folder)
  claim(folder)
} catch (error) {
  console.error(`${style.red('error:')} ${(error as Error).message}`)
  console.error(`hint: ${error instanceof DemoError ? error.hint : 'npm run demo -- --help says what it takes'}`)
  process.exit(2)
}

const stageFolder = join(folder, 'operator')
const operator = new Operator(() => JSON.parse(readFileSync(join(stageFolder, 'status.json'), 'utf8')).manager)
const operatorUrl = await operator.listen()
const enclaves = join(folder, 'enclaves')
const stage = new Stage(stageFolder, [
  ...['--port', '0', '--local-witnesses', '3'],
  ...['--manager-url', operatorUrl, '--enclaves', enclaves],
])
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    void stage.down().finally(() => process.exit(130))
  })
}
try {
  await tell({ stage, operator, operatorUrl, folder })
} catch (error) {
  console.error(`\n${style.red('error:')} ${error instanceof Error ? error.message : String(error)}`)
  if (error instanceof NotRefused)
    console.error('A trick of the operator was not refused: this is a bug, please report it.')
  const { hint } = error as { hint?: string }
  console.error(`hint: ${hint ?? `logs of all processes are in ${join(stageFolder, 'logs')}`}`)
  process.exitCode = 1
} finally {
  await stage.down()
  await operator.close()
  release(folder)
}

async function tell(cast: Cast): Promise<void> {
  chapter('An operator’s machine comes up')
  await signBuilds(enclaves, await buildEnclaves(enclaves))
  await cast.stage.up()
  done(
    'PostgreSQL, a transparency log with three witnesses, a manager, a vault enclave and a worker enclave: processes of their own.',
  )
  say(
    style.yellow(
      'The TEE is SIMULATED: real formats, a root made just now on this machine. It protects nothing from whoever runs this machine. All witnesses run under one user: nobody independent watches.',
    ),
  )
  const { receiptPath, receiver } = own === undefined ? await payGap(cast) : await ownFiles(cast, own)
  chapter('Where everything lies')
  show(`${folder}`)
  show(`  operator/     what the operator has: database, log, ciphertext, sealed enclave state, logs of all processes`)
  show(`  homes/        one home for each party: keys, anchors, what it saw of the log`)
  show(
    `  ${basename(receiptPath)}  the receipt; in years to come:  npx cella verify ${inShell(receiptPath)} --home ${inShell(receiver.home)}`,
  )
  show('')
  show('With your own files:  npm run demo -- --data FOLDER --program FILE   (--help shows more)')
  show('By hand:              npx cella up, then docs/tutorial.md')
}

/** A path as it can be pasted into a shell. */
function inShell(path: string): string {
  return /^[\w./:@%+,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}
