import { fetchCollateral, missingCollateral, vendorServices } from '@cella/collateral'
import { collateralNeeds, type Endorsement, encodeCollateral } from '@cella/evidence'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { collateralFile, nowOf, ownCollateral, recognisedFile } from '../evidence-input.ts'
import { dayText } from '../evidence-sheet.ts'
import { writeNewFile } from '../files.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

/** `cella evidence collateral …` */
export function addCollateralCommands(evidence: Command, cli: Cli): void {
  const collateral = group(evidence, 'collateral', 'certificates, revocation lists and ratings of vendors, kept here')
  const list = leaf(collateral, 'list', {
    summary: 'what is kept, and until when it holds',
    examples: ['cella evidence collateral list'],
  })
  does<Record<string, never>>(list, cli, async (context) => {
    const held = await (await ownCollateral(context)).list(nowOf({}))
    const rows = held.map(({ subject, notAfter, state }) => [
      subject,
      notAfter === undefined ? null : dayText(notAfter),
      state === 'in-force' ? 'in force' : state === 'expired' ? 'expired: fetch it again' : 'not yet in force',
    ])
    const columns = ['what', 'until', 'state'].map((name) => ({ name, align: 'left' }) as const)
    return {
      data: { collateral: held },
      text: held.length === 0 ? 'nothing is kept yet' : renderTable({ columns, rows }, context),
    }
  })
  const importing = leaf(collateral, 'import <file...>', {
    summary: 'keep collateral of files: a bundle, PEM, DER, or a vendor’s answer',
    details: 'Of a list or rating the edition issued last stays: an import never takes you back in time.',
    examples: ['cella evidence collateral import collateral.json', 'cella evidence collateral import vcek.der crl.der'],
  })
  does<Record<string, never>>(importing, cli, async (context, files) => {
    const given: Endorsement[] = []
    for (const file of files) given.push(...(await collateralFile(file)))
    const { added, ignored } = await (await ownCollateral(context)).add(given)
    return {
      data: { added: added.length, ignored: ignored.length },
      text: `${added.length} kept, ${ignored.length} that were there already or older`,
    }
  })
  const exporting = leaf(collateral, 'export', {
    summary: 'one file with all that is kept, for a machine without a network',
    examples: ['cella evidence collateral export --output collateral.json'],
  }).requiredOption('--output <file>', 'the file to write')
  does<{ output: string }>(exporting, cli, async (context, _, { output }) => {
    const pieces = await (await ownCollateral(context)).pieces()
    await writeNewFile(output, encodeCollateral(pieces), { mode: 0o644, hint: 'choose another name' })
    return { data: { pieces: pieces.length, file: output }, text: `${pieces.length} pieces in ${output}` }
  })
  const fetching = leaf(collateral, 'fetch <evidence...>', {
    summary: 'ask the vendors for what these machines’ evidence needs',
    details:
      'AMD’s KDS answers about one request in ten seconds. What is kept and holds for another --margin days is not asked for again.',
    examples: [
      'cella evidence collateral fetch quote.bin',
      'cella evidence collateral fetch report.bin --intel https://pccs.example:8081',
    ],
  })
    .option('--amd <url>', 'in place of AMD’s key distribution service')
    .option('--intel <url>', 'a PCCS in place of Intel’s provisioning certification service')
    .option('--intel-certificates <url>', 'in place of Intel’s server of root lists')
    .option('--nvidia-rim <url>', 'in place of NVIDIA’s service of manifests')
    .option('--nvidia-ocsp <url>', 'in place of NVIDIA’s OCSP responder')
    .option('--margin <days>', 'how long what is kept has to hold', '1')
  type Fetch = {
    amd?: string
    intel?: string
    intelCertificates?: string
    nvidiaRim?: string
    nvidiaOcsp?: string
    margin: string
  }
  does<Fetch>(fetching, cli, async (context, files, flags) => {
    const store = await ownCollateral(context)
    const held = await store.endorsements()
    const found = await Promise.all(files.map((file) => recognisedFile(file, {})))
    const needs = found.flatMap(({ evidence: one }) => collateralNeeds(one, held))
    const margin = Number(flags.margin) * 86_400
    if (!Number.isFinite(margin) || margin < 0) throw new UsageError(`--margin ${flags.margin}: is no number of days`)
    const missing = missingCollateral(needs, await store.pieces(), { now: nowOf({}), margin })
    const services = {
      'amd-kds': flags.amd ?? vendorServices['amd-kds'],
      'intel-pcs': flags.intel ?? vendorServices['intel-pcs'],
      'intel-certificates': flags.intelCertificates ?? vendorServices['intel-certificates'],
      'nvidia-rim': flags.nvidiaRim ?? vendorServices['nvidia-rim'],
      'nvidia-ocsp': flags.nvidiaOcsp ?? vendorServices['nvidia-ocsp'],
    }
    const fetched = await fetchCollateral(missing, {
      services,
      onAnswer: (_need, outcome, detail) => context.say(`${outcome}: ${printable(detail)}`),
    })
    const { added } = await store.add(fetched)
    return {
      data: { needed: needs.length, asked: missing.length, added: added.length },
      text:
        missing.length === 0
          ? `nothing to fetch: all ${needs.length} are kept and hold`
          : `${missing.length} asked for, ${added.length} new pieces kept`,
    }
  })
}
