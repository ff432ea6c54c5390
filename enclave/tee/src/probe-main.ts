import { nsmDriver } from './devices/nsm.ts'
import { sevGuestDriver } from './devices/sev-guest.ts'
import { hardwareDrivers } from './hardware.ts'
import { confidentialSpaceDriver } from './http/confidential-space.ts'
import { probeSources } from './probe.ts'

// node probe-main.ts    looks for every source of evidence on this machine; prints the report as JSON

const sevGuest = sevGuestDriver()
const drivers = [
  ...hardwareDrivers({ azureContainerGroup: { report: sevGuest } }),
  nsmDriver(),
  sevGuest,
  confidentialSpaceDriver({ audience: 'cella' }),
]
const { report } = await probeSources(drivers)
process.stdout.write(`${JSON.stringify(report)}\n`)
