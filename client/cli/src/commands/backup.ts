import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { collect } from '../flags.ts'
import { runBackup } from '../host-backup.ts'
import { dataFolder, dataOption } from '../supervisor.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatBytes, formatCount, formatTime } from '../terminal/units.ts'

// Backups are made by a program of the host's, which reads the installation's folder and database. This is its face.

interface Flags {
  readonly data?: string
  readonly to?: string[]
  readonly key?: string
  readonly name?: string
  readonly blobs?: string
}

/** `cella backup …` */
export function addBackupCommands(program: Command, cli: Cli): void {
  const backup = group(
    program,
    'backup',
    'back up the server of this machine while it runs, verify a backup, restore one',
  )
  addCreate(backup, cli)
  addList(backup, cli)
  addVerify(backup, cli)
  addRestore(backup, cli)
  addKeygen(backup, cli)
}

const createdSchema = z.object({
  name: z.string(),
  logSize: z.int(),
  files: z.int(),
  tables: z.int(),
  bytes: z.int(),
  bytesWritten: z.int(),
})

function addCreate(backup: Command, cli: Cli): void {
  const command = dataOption(
    leaf(backup, 'create <folder>', {
      summary: 'back up the running server into a folder: encrypted, and only what is new',
      details:
        'The first one locks the folder to a passphrase, or to a key by --to; later ones ask for nothing. Run the same again after an interruption.',
      examples: [
        'cella backup create /mnt/backup/cella',
        'cella backup keygen restore.key && cella backup create /mnt/backup/cella --to restore.key.pub',
      ],
    }),
  ).option('--to <file>', 'who may restore, by the key of cella backup keygen; may be repeated', collect)
  does<Flags>(command, cli, async (context, [folder], flags) => {
    const data = await dataFolder(context, flags.data)
    const isFirst = !existsSync(join(folder!, 'repository.json'))
    const needsPassphrase = isFirst ? flags.to === undefined : !existsSync(join(data, 'backup.key'))
    const passphrase = needsPassphrase
      ? await context.passphrase('Passphrase of the backups: ', isFirst ? { confirm: 'Again: ' } : {})
      : undefined
    const parameters = ['create', folder!, '--data', data, ...(flags.to ?? []).flatMap((file) => ['--to', file])]
    const made = createdSchema.parse(await runBackup(context, 'backing up', parameters, passphrase))
    return {
      data: made,
      text: renderPairs(
        [
          ['backup', made.name],
          [
            'holds',
            `${formatBytes(made.bytes)} in ${formatCount(made.files, 'file')}, ${formatCount(made.tables, 'table')}`,
          ],
          ['written', formatBytes(made.bytesWritten)],
          ['log', formatCount(made.logSize, 'entry', 'entries')],
          ['next', `cella backup verify ${folder}`],
        ],
        context.style,
      ),
    }
  })
}

const listSchema = z.object({
  id: z.string(),
  locks: z.array(z.string()),
  snapshots: z.array(z.object({ name: z.string(), at: z.int(), logSize: z.int(), bytes: z.int() })),
})

function addList(backup: Command, cli: Cli): void {
  const command = keyOption(
    leaf(backup, 'list <folder>', {
      summary: 'list the backups in a folder',
      examples: ['cella backup list /mnt/backup/cella'],
    }),
  )
  does<Flags>(command, cli, async (context, [folder], flags) => {
    const found = listSchema.parse(await runOpening(context, 'reading', ['list', folder!], flags))
    const columns = [
      { name: 'backup', align: 'left' as const },
      { name: 'of', align: 'left' as const },
      { name: 'size', align: 'right' as const },
      { name: 'log entries', align: 'right' as const },
    ]
    const rows = found.snapshots.map(({ name, at, bytes, logSize }) => [
      name,
      formatTime(at),
      formatBytes(bytes),
      `${logSize}`,
    ])
    return { data: found, text: renderTable({ columns, rows }, context) }
  })
}

const verifiedSchema = z.object({
  name: z.string(),
  files: z.int(),
  tables: z.int(),
  bytes: z.int(),
  logSize: z.int(),
})

function addVerify(backup: Command, cli: Cli): void {
  const command = nameOption(
    keyOption(
      leaf(backup, 'verify <folder>', {
        summary: 'read all of a backup: every piece, and that the log in it is whole',
        details: 'The newest, unless --name says which. Nothing is restored.',
        examples: ['cella backup verify /mnt/backup/cella', 'cella backup verify /mnt/backup/cella --key restore.key'],
      }),
    ),
  )
  does<Flags>(command, cli, async (context, [folder], flags) => {
    const found = verifiedSchema.parse(await runOpening(context, 'verifying', ['verify', folder!], flags))
    return {
      data: found,
      text: `${context.style.green('✓')} ${found.name}: ${formatBytes(found.bytes)} are what they were, and ${formatCount(found.logSize, 'log entry', 'log entries')} have the root that the log signed`,
    }
  })
}

const restoredSchema = z.object({
  name: z.string(),
  at: z.int(),
  data: z.string(),
  log: z.object({ origin: z.string(), vkey: z.string(), size: z.int() }),
})

function addRestore(backup: Command, cli: Cli): void {
  const command = nameOption(
    keyOption(
      dataOption(
        leaf(backup, 'restore <folder>', {
          summary: 'restore a backup into a data folder that is empty',
          details:
            'The newest, unless --name says which. The log in it does not go on by itself: docs/operations.md, “When the machine is lost”.',
          examples: [
            'cella backup restore /mnt/backup/cella --data /srv/cella',
            'cella backup restore /mnt/backup/cella --data /srv/cella --blobs s3.json',
          ],
        }),
      ),
    ),
  ).option('--blobs <file>', 'ciphertext goes into the S3 store that this file names, in place of a folder')
  does<Flags>(command, cli, async (context, [folder], flags) => {
    const data = await dataFolder(context, flags.data)
    const blobs = flags.blobs === undefined ? [] : ['--blobs', resolve(flags.blobs)]
    const parameters = ['restore', folder!, '--data', data, ...blobs]
    const made = restoredSchema.parse(await runOpening(context, 'restoring', parameters, flags))
    return {
      data: made,
      text: renderPairs(
        [
          ['restored', `${made.name}, as of ${formatTime(made.at)}`],
          ['data', made.data],
          [
            'log',
            `${printable(made.log.origin)}, ${formatCount(made.log.size, 'entry', 'entries')}: what came later is not here`,
          ],
        ],
        context.style,
      ),
    }
  })
}

const keysSchema = z.object({ key: z.string(), recipient: z.string() })

function addKeygen(backup: Command, cli: Cli): void {
  const command = leaf(backup, 'keygen <file>', {
    summary: 'make a key that restores backups; FILE.pub is what to give to --to',
    details: 'Keep FILE away from the machine that makes the backups: who has it reads them all.',
    examples: ['cella backup keygen restore.key'],
  })
  does(command, cli, async (context, [file]) => {
    const made = keysSchema.parse(await runBackup(context, 'making', ['keygen', file!], undefined))
    return { data: made, text: `${made.key}: keep it away from the server\n${made.recipient}: for --to` }
  })
}

function keyOption(command: Command): Command {
  return command.option('--key <file>', 'the key of cella backup keygen, in place of a passphrase')
}

function nameOption(command: Command): Command {
  return command.option('--name <backup>', 'which backup, as cella backup list names it (default: the newest)')
}

/** A command that opens the folder: by --key, or by the passphrase. */
async function runOpening(
  context: Context,
  label: string,
  parameters: readonly string[],
  { key, name }: Flags,
): Promise<unknown> {
  const passphrase = key === undefined ? await context.passphrase('Passphrase of the backups: ') : undefined
  const options = Object.entries({ key, name }).flatMap(([option, value]) =>
    value === undefined ? [] : [`--${option}`, value],
  )
  return runBackup(context, label, [...parameters, ...options], passphrase)
}
