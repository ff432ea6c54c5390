import { parseDigest } from '@cella/bytes'
import { followSuccessor } from '@cella/sdk'
import type { Command } from 'commander'
import { z } from 'zod'
import { type Cli, does, leaf } from '../command.ts'
import { CliError } from '../error.ts'
import { readBytesFile, readTextFile } from '../files.ts'
import { collect, integerOption } from '../flags.ts'
import { runBackup } from '../host-backup.ts'
import { dataFolder, dataOption, runningServer } from '../supervisor.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'

/** `cella log succeed` and `cella log adopt`: a log that was lost, and the one that goes on. */
export function addSuccessionCommands(log: Command, cli: Cli): void {
  addSucceed(log, cli)
  addAdopt(log, cli)
}

const succeededSchema = z.object({
  succession: z.string(),
  from: z.object({ origin: z.string(), size: z.int() }),
  to: z.object({ origin: z.string(), vkey: z.string() }),
})

function addSucceed(log: Command, cli: Cli): void {
  const command = dataOption(
    leaf(log, 'succeed', {
      summary: 'give the log of a server that was restored a successor: the same entries under a new name and key',
      details:
        'While the server is down. The file that it writes goes to every owner and witness: each checks what is kept and what is lost, and accepts the successor in new terms or does not.',
      examples: ['cella log succeed --data /srv/cella && cella up --data /srv/cella'],
    }),
  )
  does<{ data?: string }>(command, cli, async (context, _, flags) => {
    const data = await dataFolder(context, flags.data)
    const running = await runningServer(data)
    if (running !== undefined) {
      throw new CliError('ERR_REFUSED', `a server runs on ${data} (process ${running.pid})`, 'cella down stops it')
    }
    const made = succeededSchema.parse(await runBackup(context, 'copying', ['succeed', data], undefined))
    return {
      data: made,
      text: renderPairs(
        [
          ['before', `${printable(made.from.origin)}, ${formatCount(made.from.size, 'entry', 'entries')} kept`],
          ['now', printable(made.to.origin)],
          ['for owners', made.succession],
          ['next', `cella up; then each owner: cella log adopt ${made.succession} --log POLICY`],
        ],
        context.style,
      ),
    }
  })
}

function addAdopt(log: Command, cli: Cli): void {
  const command = leaf(log, 'adopt <succession>', {
    summary: 'check the successor of a log that was lost, and believe it from now on',
    details:
      'Refused while it lacks entries that this profile saw; the refusal says which. Your organisation’s keys go nowhere under it before its new terms say so: cella org terms.',
    examples: [
      'cella log adopt succession.json --log policy.txt --independent notary',
      'cella log adopt succession.json --log policy.txt --accept-lost 3',
    ],
  })
    .requiredOption('--log <file>', 'a C2SP tlog-policy of the successor: its key, witnesses, quorum')
    .option('--independent <witness>', 'a witness that is independent of the operator; may be repeated', collect)
    .option('--accept-lost <entries>', 'go on without so many entries', integerOption('--accept-lost', 1))
  does<{ log: string; independent?: string[]; acceptLost?: number }>(command, cli, async (context, [file], options) => {
    const session = await context.session()
    const keystore = await context.keystore()
    const found = await followSuccessor(session, {
      succession: await readBytesFile(file!, 1_000_000),
      policy: await readTextFile(options.log),
      independentWitnesses: options.independent ?? [],
      acceptLost: options.acceptLost,
      documents: keystore.list().flatMap(({ kind, name }) => (kind === 'dek' ? [parseDigest(name, 'manifest')] : [])),
    })
    const lines = [
      `${context.style.green('✓')} ${printable(found.to)} goes on where ${printable(found.from)} ended, with ${formatCount(found.size, 'entry', 'entries')} of it`,
      ...(found.lost === 0 ? [] : [`${formatCount(found.lost, 'entry', 'entries')} that you saw are lost`]),
      ...found.lostDocuments.map((digest) => `  your asset ${digest} is lost: publish it again`),
      'next: cella org terms --installation FILE, then publish what it counts uses of again',
    ]
    return { data: found, text: lines.join('\n') }
  })
}
