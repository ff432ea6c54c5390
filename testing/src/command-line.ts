import { fileURLToPath } from 'node:url'

/** The command `cella` as it is published, in one file: `scripts/test.ts` builds it before the first test. */
export const commandLine: string = fileURLToPath(new URL('../../dist/command-line/bin/cella.js', import.meta.url))
