import { runCella } from './cella.ts'

const { stdin, stdout, stderr, env } = process
// A reader that went away (`cella log show | head`) is no error of ours.
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
process.exitCode = await runCella(process.argv.slice(2), { stdin, stdout, stderr, env })
