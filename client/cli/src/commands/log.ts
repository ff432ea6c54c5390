import { decodeBase64url, encodeBase64, encodeUtf8, equalBytes } from '@cella/bytes'
import { publishedTag, verifyOfflineProof } from '@cella/log'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { CliError } from '../error.ts'
import { writeNewFile } from '../files.ts'
import { digestArgument } from '../options.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatTime } from '../terminal/units.ts'

/** `cella log …` */
export function addLogCommands(program: Command, cli: Cli): void {
  const log = group(program, 'log', 'the witnessed log: the one memory that can’t go back')
  const show = leaf(log, 'show', {
    summary: 'show the newest checkpoint, who cosigned it and when',
    examples: ['cella log show', 'cella log show --json'],
  })
  does(show, cli, async (context) => {
    const { checkpoint, policy } = await (await context.session()).log()
    const witnesses = checkpoint.witnesses.map(({ name, time }) => ({ name, time }))
    return {
      data: {
        origin: checkpoint.origin,
        size: checkpoint.size,
        root: encodeBase64(checkpoint.root),
        witnesses,
        quorum: policy.quorum ?? null,
      },
      text: renderPairs(
        [
          ['log', printable(checkpoint.origin)],
          ['entries', `${checkpoint.size}`],
          ['root', encodeBase64(checkpoint.root)],
          ['quorum', policy.quorum ?? 'none: the time is the host’s'],
          ...witnesses.map(({ name, time }): [string, string] => [
            'witness',
            `${printable(name)} at ${formatTime(time)}`,
          ]),
        ],
        context.style,
      ),
    }
  })
  const check = leaf(log, 'check', {
    summary: 'read every entry again and compare with all that this profile saw before',
    details: 'A log that was set back or forked is refused, and nothing of it is kept.',
    examples: ['cella log check'],
  })
  does(check, cli, async (context) => {
    const session = await context.session()
    const before = await (await context.home()).logMemory((await session.info()).log.origin)
    const { checkpoint, view } = await session.log()
    return {
      data: { origin: checkpoint.origin, size: view.size, before: before?.size ?? 0, consistent: true },
      text: `${context.style.green('✓')} ${printable(checkpoint.origin)}: ${formatCount(view.size, 'entry', 'entries')} under the root that ${formatCount(checkpoint.witnesses.length, 'witness', 'witnesses')} cosigned, in continuation of the ${before?.size ?? 0} seen before`,
    }
  })
  const prove = leaf(log, 'prove <document>', {
    summary: 'prove that a document is in the log, as a .tlog-proof file that other tools read',
    examples: ['cella log prove 3f9a… --output manifest.tlog-proof'],
  }).option('--output <file>', 'where to write the proof (default: standard output)')
  does<{ output?: string }>(prove, cli, async (context, [digest], { output }) => {
    const session = await context.session()
    const document = digestArgument(digest, 'document')
    const stored = await session.manager.document(document)
    const { policy } = await session.log()
    const entry = verifyOfflineProof({
      proofFile: encodeUtf8(stored.proof),
      leaf: decodeBase64url(stored.leaf, 'leaf'),
      policy,
    })
    if (!equalBytes(entry.leaf.tag, publishedTag(document))) {
      throw new CliError('ERR_REFUSED', `the manager’s proof is of another document than ${document}`)
    }
    if (output !== undefined)
      await writeNewFile(output, stored.proof, { overwrite: true, mode: 0o644, hint: 'choose another name' })
    return {
      data: { document, index: entry.index, size: entry.size, leaf: stored.leaf, proof: stored.proof },
      text: output === undefined ? stored.proof : `entry ${entry.index} of ${entry.size}: ${output}`,
    }
  })
}
