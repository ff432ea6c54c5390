import { parseArgs } from 'node:util'
import { TeeError } from '../error.ts'
import { createSimulatedPlatform, simulatedRoot } from './platform.ts'

// node create-main.ts --folder FOLDER    makes a simulated platform unless there is one; prints its root as JSON

const { values } = parseArgs({ options: { folder: { type: 'string' } } })
if (values.folder === undefined) throw new TypeError('usage: --folder FOLDER')
const { root } = await existing(values.folder)
process.stdout.write(`${JSON.stringify(root)}\n`)

async function existing(folder: string): ReturnType<typeof simulatedRoot> {
  try {
    return await simulatedRoot(folder)
  } catch (error) {
    if (!(error instanceof TeeError) || error.code !== 'ERR_TEE_UNAVAILABLE') throw error
    return createSimulatedPlatform(folder)
  }
}
