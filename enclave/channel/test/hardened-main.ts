import { enclaveOptions, requireHardened } from '../src/index.ts'

requireHardened(enclaveOptions)
process.stdout.write('hardened')
