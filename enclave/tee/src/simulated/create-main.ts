import { parseArgs } from 'node:util'
import { TeeError } from '../error.ts'
import { simulatedTees } from './options.ts'
import { createSimulatedPlatform, simulatedRoot } from './platform.ts'
import { simulatedVendorRoots } from './vendors.ts'

// node create-main.ts --folder FOLDER [KIND…]    makes a simulated platform unless there is one; prints the roots of these
//   kinds of TEE, of SEV-SNP where none is named, as JSON

const { values, positionals } = parseArgs({ options: { folder: { type: 'string' } }, allowPositionals: true })
const kinds = positionals.length > 0 ? positionals : ['sev-snp']
const unknown = kinds.find((kind) => !simulatedTees.some((known) => known === kind))
if (values.folder === undefined || unknown !== undefined) {
  throw new TypeError(`usage: --folder FOLDER [${simulatedTees.join(' | ')}]…`)
}
const { root } = await existing(values.folder)
const others = kinds.some((kind) => kind !== 'sev-snp') ? await simulatedVendorRoots(values.folder) : []
const roots = [root, ...others].filter(({ tee }) => kinds.includes(tee))
process.stdout.write(`${JSON.stringify({ roots })}\n`)

async function existing(folder: string): ReturnType<typeof simulatedRoot> {
  try {
    return await simulatedRoot(folder)
  } catch (error) {
    if (!(error instanceof TeeError) || error.code !== 'ERR_TEE_UNAVAILABLE') throw error
    return createSimulatedPlatform(folder)
  }
}
