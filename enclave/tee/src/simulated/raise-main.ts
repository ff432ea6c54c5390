import { parseArgs } from 'node:util'
import { type SimulatedRevocation, type SimulatedStep, type SimulatedVendor, stepSimulatedLevels } from './levels.ts'

// node raise-main.ts --folder FOLDER (--publish intel | --install amd|intel | --revoke ask|pck|pck-ca)
// Takes one step of a TCB recovery on the simulated platform; prints its levels as JSON. Enclaves show what is installed
// from their next start on, what is published or revoked at once.

const { values } = parseArgs({
  options: {
    folder: { type: 'string' },
    publish: { type: 'string' },
    install: { type: 'string' },
    revoke: { type: 'string' },
  },
})
const { folder, publish, install, revoke } = values
const steps = Object.entries({ publish, install, revoke }).filter(([, value]) => value !== undefined)
if (folder === undefined || steps.length !== 1) throw usage()
process.stdout.write(`${JSON.stringify(await stepSimulatedLevels(folder, stepOf(steps[0]!)))}\n`)

function stepOf([name, value]: readonly [string, string | undefined]): SimulatedStep {
  if (name === 'publish' && value === 'intel') return { publish: value }
  if (name === 'install' && ['amd', 'intel'].includes(value!)) return { install: value as SimulatedVendor }
  if (name === 'revoke' && ['ask', 'pck', 'pck-ca'].includes(value!)) return { revoke: value as SimulatedRevocation }
  throw usage()
}

function usage(): TypeError {
  return new TypeError('usage: --folder FOLDER (--publish intel | --install amd|intel | --revoke ask|pck|pck-ca)')
}
