import { canonicalJson, decodeHex, encodeHex, encodeUtf8 } from '@cella/bytes'
import { bytesField } from '@cella/documents'
import { parseEvidence } from '@cella/evidence'
import { type Command, Option } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { type CmwForm, cmwOption, writeEvidence } from '../evidence-input.ts'
import { readBytesFile } from '../files.ts'
import { simulatedTees } from '../supervisor.ts'
import { askTee } from '../tee-tool.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

interface CollectFlags {
  readonly nonce?: string
  readonly reportData?: string
  readonly binding?: string
  readonly simulated?: string
  readonly tee?: string
  readonly output: string
  readonly cmw?: CmwForm
}

/** `cella evidence collect` */
export function addCollect(evidence: Command, cli: Cli): void {
  const command = leaf(evidence, 'collect', {
    summary: 'get evidence of the TEE that this machine is, over a given nonce',
    details:
      'Takes the first source that is found, as an enclave would; cella doctor says which, and why not the others. Exit code 1 where there is none.',
    examples: [
      'cella evidence collect --nonce 3kPw…43 characters --output evidence.json',
      'cella evidence collect --report-data 00ff…64 bytes --output evidence.json',
      'cella evidence collect --simulated ~/.cella/server/tee --tee tdx --binding binding.json --output evidence.json',
    ],
  })
    .option('--nonce <nonce>', 'base64url of 32 bytes: the evidence carries the digest of {"nonce": …}')
    .option('--binding <file>', 'canonical JSON whose digest the evidence carries')
    .option('--report-data <hex>', 'the bytes that it carries as they are: 64, 48 or 32 by the TEE')
    .option('--simulated <folder>', 'of a simulated platform, for rehearsal')
    .addOption(new Option('--tee <kind>', 'which kind is simulated (default: sev-snp)').choices([...simulatedTees]))
    .requiredOption('--output <file>', 'the file to write')
    .addOption(cmwOption)
  does<CollectFlags>(command, cli, async (context, _, flags) => {
    const over = await overWhat(flags)
    if (flags.tee !== undefined && flags.simulated === undefined) {
      throw new UsageError('--tee chooses what is simulated', 'add --simulated FOLDER; a real TEE is what it is')
    }
    const said = (await askTee([
      'collect',
      ...over,
      ...(flags.simulated === undefined ? [] : ['--folder', flags.simulated, '--tee', flags.tee ?? 'sev-snp']),
    ])) as { kind: string; tee: string; boundary: string; simulated: boolean; measurement: string; evidence: string }
    await writeEvidence(flags.output, parseEvidence(decodeHex(said.evidence, 'evidence')), flags.cmw)
    const { evidence: _evidence, ...about } = said
    return {
      data: { ...about, file: flags.output },
      text: renderPairs(
        [
          ['TEE', said.simulated ? `${printable(said.tee)}, SIMULATED` : printable(said.tee)],
          ['source', printable(said.kind)],
          ['boundary', printable(said.boundary)],
          ['measurement', printable(said.measurement)],
          ['written', flags.output],
        ],
        context.style,
      ),
    }
  })
}

/** What the evidence is asked for over, as the tool takes it. Exactly one has to be given. */
async function overWhat({ nonce, binding, reportData }: CollectFlags): Promise<string[]> {
  const given = [nonce, binding, reportData].filter((one) => one !== undefined)
  if (given.length !== 1) {
    throw new UsageError('give one of --nonce, --binding and --report-data', 'whoever will verify it says which')
  }
  if (reportData !== undefined) {
    if (/^(?:[0-9a-f]{2}){32,64}$/.test(reportData)) return ['--report-data', reportData]
    throw new UsageError('--report-data: write 32, 48 or 64 bytes in lower-case hexadecimal')
  }
  if (binding !== undefined) return ['--binding', encodeHex(await readBytesFile(binding, 65_536))]
  if (!bytesField({ exactly: 32 }).safeParse(nonce).success) {
    throw new UsageError(`--nonce: write base64url of 32 bytes, without padding`)
  }
  return ['--binding', encodeHex(encodeUtf8(canonicalJson({ nonce: nonce! })))]
}
