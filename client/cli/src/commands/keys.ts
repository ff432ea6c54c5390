import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createBackup, type Keystore, restoreBackup } from '@cella/keystore'
import { createProfileKeystore, keysOf, memberCard } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { readTextFile, writeNewFile } from '../files.ts'
import { integerOption } from '../options.ts'
import { renderTable } from '../terminal/table.ts'
import { formatCount } from '../terminal/units.ts'

/** `cella keys …` */
export function addKeysCommands(program: Command, cli: Cli): void {
  const keys = group(program, 'keys', 'the keys of this profile: they never leave this machine in the clear')
  addList(keys, cli)
  addBackup(keys, cli)
  addRestore(keys, cli)
  addChangePassphrase(keys, cli)
}

function addList(keys: Command, cli: Cli): void {
  const command = leaf(keys, 'list', {
    summary: 'list the keys in the keystore, or print a card of the public ones',
    details:
      'With --create, makes a keystore with fresh account keys first: for somebody who is to join an organisation.',
    examples: ['cella keys list', 'cella --profile ada keys list --create --card "Ada Example" > ada.card.json'],
  })
    .option('--card <name>', 'print what an organisation needs to take you in: your name and public keys')
    .option('--create', 'make the keystore if there is none')
  does<{ card?: string; create?: boolean }>(command, cli, async (context, _, { card, create }) => {
    const home = await context.home()
    if (create === true) {
      const passphrase = await context.passphrase(`New passphrase for profile ${home.profileName}: `, {
        confirm: 'Again: ',
      })
      const made = await createProfileKeystore(home, passphrase)
      passphrase.destroy()
      return listKeys(context, made, card)
    }
    return listKeys(context, await context.keystore(), card)
  })
}

async function listKeys(context: Context, keystore: Keystore, card: string | undefined): Promise<Result> {
  const unlocked = await keysOf(keystore)
  if (card !== undefined) {
    const data = memberCard(unlocked, card)
    return { data, text: JSON.stringify(data, undefined, 2) }
  }
  const entries = keystore.list()
  const columns = ['kind', 'name'].map((name) => ({ name, align: 'left' as const }))
  return {
    data: { keystore: keystore.path, account: unlocked.account.keyId, entries },
    text: renderTable({ columns, rows: entries.map(({ kind, name }) => [kind, name]) }, context),
  }
}

function addBackup(keys: Command, cli: Cli): void {
  const command = leaf(keys, 'backup', {
    summary: 'split all keys into shares, of which some are enough to restore them',
    details: 'Each share goes to a file of its own. Keep them apart: as many as the threshold together are the keys.',
    examples: ['cella keys backup --shares 5 --threshold 3 --output ./shares'],
  })
    .requiredOption('--shares <count>', 'how many shares to make', integerOption('--shares', 2))
    .requiredOption('--threshold <count>', 'how many of them restore the keys', integerOption('--threshold', 2))
    .requiredOption('--output <folder>', 'where to write share-1.txt and so on')
  does<{ shares: number; threshold: number; output: string }>(command, cli, async (context, _, options) => {
    if (options.threshold > options.shares || options.shares > 255) {
      throw new UsageError('the threshold is from 2 to the number of shares, which is at most 255')
    }
    const keystore = await context.keystore()
    const shares = await createBackup(keystore, options)
    await mkdir(options.output, { recursive: true, mode: 0o700 })
    const files: string[] = []
    for (const [index, share] of shares.entries()) {
      const file = join(options.output, `share-${index + 1}.txt`)
      await writeNewFile(file, `${share}\n`, { hint: 'choose an empty folder' })
      files.push(file)
    }
    return {
      data: { shares: files, threshold: options.threshold },
      text: `${files.join('\n')}\n\nany ${options.threshold} of these ${files.length} restore the keys: move them apart now`,
    }
  })
}

function addRestore(keys: Command, cli: Cli): void {
  const command = leaf(keys, 'restore <share...>', {
    summary: 'make the keystore again from shares of a backup',
    examples: ['cella keys restore share-1.txt share-3.txt share-4.txt'],
  })
  does(command, cli, async (context, files) => {
    const entries = await restoreBackup(await Promise.all(files.map(readTextFile)))
    const home = await context.home()
    const passphrase = await context.passphrase(`New passphrase for profile ${home.profileName}: `, {
      confirm: 'Again: ',
    })
    const keystore = await createProfileKeystore(home, passphrase, { entries })
    passphrase.destroy()
    for (const { secret } of entries) secret.fill(0)
    await chmod(home.keystorePath, 0o600)
    return {
      data: { keystore: home.keystorePath, entries: keystore.list() },
      text: `${formatCount(keystore.list().length, 'key')} restored to ${home.keystorePath}`,
    }
  })
}

function addChangePassphrase(keys: Command, cli: Cli): void {
  const command = leaf(keys, 'change-passphrase', {
    summary: 'encrypt the keystore under another passphrase',
    details: 'The old passphrase still opens old copies of the file: delete them.',
    examples: [
      'cella keys change-passphrase',
      'cella keys change-passphrase --passphrase-fd 3 --new-passphrase-fd 4 3<old 4<new',
    ],
  }).option(
    '--new-passphrase-fd <number>',
    'read the new passphrase from this file descriptor',
    integerOption('--new-passphrase-fd', 0),
  )
  does<{ newPassphraseFd?: number }>(command, cli, async (context, _, { newPassphraseFd }) => {
    if (context.options.passphraseFd !== undefined && newPassphraseFd === undefined) {
      throw new UsageError('the new passphrase has to come from a descriptor too', 'add --new-passphrase-fd NUMBER')
    }
    const keystore = await context.keystore()
    const next = await context.passphrase('New passphrase: ', { confirm: 'Again: ', fd: newPassphraseFd })
    await keystore.changePassphrase(next)
    next.destroy()
    return { data: { keystore: keystore.path }, text: `${keystore.path} is under the new passphrase` }
  })
}
