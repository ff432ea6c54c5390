import { readFile } from 'node:fs/promises'
import { encodeUtf8, FormatError } from '@cella/bytes'
import { keyIdField } from '@cella/documents'
import { parseLogPolicy } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { type StoredAnchors, verifyFile } from '@cella/sdk'
import { anchorsFileSchema, parsePublicKey } from '@cella/verify'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readBytesFile, readJsonFile, readTextFile, writeNewFile } from '../files.ts'
import { collect } from '../options.ts'
import { verdictText } from '../words.ts'

interface VerifyFlags {
  readonly anchors?: string
  readonly policy?: string
  readonly independent?: string[]
  readonly vault?: string[]
  readonly entry?: string
  readonly key?: string
  readonly page?: string
}

/** A completeness export is the largest. */
const fileBytesMax = 1_073_741_824

/** `cella verify` and, since one looks for it there, `cella log verify`. */
export function addVerifyCommand(parent: Command, cli: Cli): void {
  const name = parent.name() === 'log' ? 'cella log verify' : 'cella verify'
  const command = leaf(parent, 'verify [file]', {
    summary: 'judge a file without a network: what is proved, by whom, as of when, and what is not',
    details:
      'Takes a receipt, a .tlog-proof, a disclosure, a record of an audit batch, a completeness export, a COSE receipt (RFC 9942), a proof of Rekor v2 or Sigsum, or a statement with receipts of a CCF ledger. The anchors are your own (cella org trust, --anchors, --policy): organisations, logs with their witnesses, TEE roots. What the file says about these is not believed. Exit code 0: proved; 1: disproved; 3: you lack what it takes to tell.',
    examples: [
      `${name} receipt.json`,
      `${name} events.cella-export --vault q3Vz… --json`,
      `${name} entry.tlog-proof --policy policy.txt --entry entry.bin`,
      `${name} hash.sigsum --policy sigsum-policy.txt --entry release.tar.gz --key submitter.pub`,
      `${name} --page verify.html`,
    ],
  })
    .option('--anchors <file>', 'anchors in place of the profile’s, in the form of its anchors.json')
    .option('--policy <file>', 'a C2SP tlog-policy, in place of the logs among the anchors')
    .option(
      '--independent <witness>',
      'a witness of that policy that is independent of the operator; may be repeated',
      collect,
    )
    .option('--vault <id>', 'a vault that you accept, for exports; may be repeated', collect)
    .option('--entry <file>', 'what was logged, where the file does not hold it')
    .option('--key <file>', 'public key (PEM, or ssh-ed25519) of who has to have signed it')
    .option('--page <file>', 'write the page that does the same in a browser, without a network, and end')
  does<VerifyFlags>(command, cli, async (context, [file], flags) => {
    if (flags.page !== undefined) return writePage(flags.page)
    if (file === undefined) throw new UsageError('which file?', `${name} FILE`)
    const judged = await verifyFile(await readBytesFile(file, fileBytesMax), {
      anchors: await anchorsFor(context, flags),
      now: Math.floor(Date.now() / 1000),
      vaults: (flags.vault ?? []).map(vaultId),
      entry: flags.entry === undefined ? undefined : await readBytesFile(flags.entry, fileBytesMax),
      key: flags.key === undefined ? undefined : publicKey(await readTextFile(flags.key), flags.key),
    })
    const { kind, verdict, about } = judged
    const exitCodes = { proved: 0, disproved: 1, 'cannot-tell': 3 } as const
    return {
      data: { ...verdict, kind: kind ?? null, ...about },
      text: verdictText(verdict, context),
      exitCode: exitCodes[verdict.outcome],
    }
  })
}

async function anchorsFor(context: Context, flags: VerifyFlags): Promise<StoredAnchors> {
  const anchors = flags.anchors === undefined ? await (await context.home()).anchors() : await anchorsIn(flags.anchors)
  if (flags.policy === undefined) {
    if (flags.independent !== undefined) throw new UsageError('--independent goes with --policy')
    return anchors
  }
  const policy = await readTextFile(flags.policy)
  const { witnesses } = parseLogPolicy(encodeUtf8(policy))
  for (const witness of flags.independent ?? []) {
    if (witnesses.some((one) => one.name === witness)) continue
    throw new UsageError(
      `${flags.policy} names no witness ${witness}`,
      `its witnesses: ${witnesses.map((one) => one.name).join(', ') || 'none'}`,
    )
  }
  return { ...anchors, logs: [{ policy, independentWitnesses: [...(flags.independent ?? [])] }] }
}

async function anchorsIn(file: string): Promise<StoredAnchors> {
  const parsed = anchorsFileSchema.safeParse(await readJsonFile(file))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UsageError(
    `--anchors ${file}: ${issue?.path.join('.')}: ${issue?.message}`,
    'a file like profiles/NAME/anchors.json in a home of cella',
  )
}

/** An id of a vault, 43 characters. */
export function vaultId(text: string): KeyId {
  const parsed = keyIdField.safeParse(text)
  if (parsed.success) return parsed.data
  throw new UsageError(
    `--vault ${text}: is no id of a vault`,
    'its 43 characters, as cella publish and cella log export show it',
  )
}

function publicKey(text: string, file: string): Uint8Array {
  try {
    return parsePublicKey(text)
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new UsageError(`--key ${file}: ${cause.message}`, 'a PEM block PUBLIC KEY, or a line ssh-ed25519 …', {
      cause,
    })
  }
}

/** The page lies beside the bundled command; in a checkout the build makes it. */
async function writePage(target: string): Promise<Result> {
  let page: Uint8Array
  try {
    page = await readFile(new URL('verify.html', import.meta.url))
  } catch {
    try {
      page = await readFile(new URL('../../../verify/dist/verify.html', import.meta.url))
    } catch (cause) {
      throw new CliError('ERR_FILE', 'the page was not built yet', 'in a checkout: npm run build:page', { cause })
    }
  }
  await writeNewFile(target, page, { mode: 0o644, hint: 'choose another name' })
  return {
    data: { file: target, bytes: page.length },
    text: `${target}: open it in a browser, also on a machine without a network`,
  }
}
