import { fetchCollateral, listCollateral, missingCollateral, vendorServices } from '@cella/collateral'
import { collateralNeeds, type Endorsement, Endorsements, encodeCollateral } from '@cella/evidence'
import { writeFileAtomically } from '@cella/files'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { collateralFile, nowOf, recognisedFile, withCollateral } from '../evidence-input.ts'
import { dayText } from '../evidence-sheet.ts'
import { writeNewFile } from '../files.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

interface Kept {
  readonly database?: string
}

/** Which store a command is about. */
function kept(command: Command): Command {
  return command.option('--database <url>', 'a PostgreSQL that verifiers share, in place of this profile’s folder')
}

/** `cella evidence collateral …` */
export function addCollateralCommands(evidence: Command, cli: Cli): void {
  const collateral = group(evidence, 'collateral', 'certificates, revocation lists and ratings of vendors, kept here')
  const list = kept(
    leaf(collateral, 'list', {
      summary: 'what is kept, and until when it holds',
      examples: ['cella evidence collateral list'],
    }),
  )
  does<Kept>(list, cli, async (context, _, { database }) => {
    const held = await withCollateral(context, database, (store) => listCollateral(store, nowOf({})))
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
  const importing = kept(
    leaf(collateral, 'import <file...>', {
      summary: 'keep collateral of files: a bundle, PEM, DER, or a vendor’s answer',
      details: 'Of a list or rating the edition issued last stays: an import never takes you back in time.',
      examples: [
        'cella evidence collateral import collateral.json',
        'cella evidence collateral import vcek.der crl.der',
      ],
    }),
  )
  does<Kept>(importing, cli, async (context, files, { database }) => {
    const given: Endorsement[] = []
    for (const file of files) given.push(...(await collateralFile(file)))
    const { added, ignored } = await withCollateral(context, database, (store) => store.add(given))
    return {
      data: { added: added.length, ignored: ignored.length },
      text: `${added.length} kept, ${ignored.length} that were there already or older`,
    }
  })
  const exporting = kept(
    leaf(collateral, 'export', {
      summary: 'one file with all that is kept, for a machine without a network or for an attestation service',
      examples: [
        'cella evidence collateral export --output collateral.json',
        'cella evidence collateral export --database postgres://db/collateral --overwrite --output attest/collateral/all.json',
      ],
    }),
  )
    .requiredOption('--output <file>', 'the file to write')
    .option('--overwrite', 'replace the file where it is there, whole and at once')
  does<Kept & { output: string; overwrite?: boolean }>(exporting, cli, async (context, _, flags) => {
    const { output, overwrite = false } = flags
    const pieces = await withCollateral(context, flags.database, (store) => store.pieces())
    const bytes = encodeCollateral(pieces)
    if (overwrite) await writeFileAtomically(output, bytes, { mode: 0o644, overwrite })
    else await writeNewFile(output, bytes, { mode: 0o644, hint: 'choose another name, or say --overwrite' })
    return { data: { pieces: pieces.length, file: output }, text: `${pieces.length} pieces in ${output}` }
  })
  const fetching = kept(
    leaf(collateral, 'fetch <evidence...>', {
      summary: 'ask the vendors for what these machines’ evidence needs',
      details:
        'AMD’s KDS answers about one request in ten seconds. What is kept and holds for another --margin days is not asked for again.',
      examples: [
        'cella evidence collateral fetch quote.bin',
        'cella evidence collateral fetch report.bin --intel https://pccs.example:8081',
      ],
    }),
  )
    .option('--amd <url>', 'in place of AMD’s key distribution service')
    .option('--intel <url>', 'a PCCS in place of Intel’s provisioning certification service')
    .option('--intel-certificates <url>', 'in place of Intel’s server of root lists')
    .option('--nvidia-rim <url>', 'in place of NVIDIA’s service of manifests')
    .option('--nvidia-ocsp <url>', 'in place of NVIDIA’s OCSP responder')
    .option('--margin <days>', 'how long what is kept has to hold', '1')
  type Fetch = Kept & {
    amd?: string
    intel?: string
    intelCertificates?: string
    nvidiaRim?: string
    nvidiaOcsp?: string
    margin: string
  }
  does<Fetch>(fetching, cli, async (context, files, flags) => {
    const held = await withCollateral(context, flags.database, (store) => store.pieces())
    const found = await Promise.all(files.map((file) => recognisedFile(file, {})))
    const needs = found.flatMap(({ evidence: one }) => collateralNeeds(one, new Endorsements(held)))
    const margin = Number(flags.margin) * 86_400
    if (!Number.isFinite(margin) || margin < 0) throw new UsageError(`--margin ${flags.margin}: is no number of days`)
    const missing = missingCollateral(needs, held, { now: nowOf({}), margin })
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
    const { added } = await withCollateral(context, flags.database, (store) => store.add(fetched))
    return {
      data: { needed: needs.length, asked: missing.length, added: added.length },
      text:
        missing.length === 0
          ? `nothing to fetch: all ${needs.length} are kept and hold`
          : `${missing.length} asked for, ${added.length} new pieces kept`,
    }
  })
}
