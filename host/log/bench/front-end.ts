import { openFolderObjects } from '@cella/blobs'
import { loadLogKey, localSigner, openPostgresLog } from '../src/index.ts'
import { closedLoop, freshLeaf } from './load.ts'

// One front-end of the PostgreSQL log with clients in its process: forked by postgres.bench.ts, which says when to begin.

export interface FrontEndSettings {
  readonly url: string
  readonly store: string
  readonly lastSignedFile: string
  readonly keyFile: string
  readonly clients: number
  readonly seconds: number
}

const settings: FrontEndSettings = JSON.parse(process.argv[2]!)
const log = await openPostgresLog({
  url: settings.url,
  store: await openFolderObjects({ folder: settings.store }),
  lastSignedFile: settings.lastSignedFile,
  signer: localSigner(loadLogKey({ file: settings.keyFile, name: 'log.example/bench' })),
  witnesses: [],
  onFatal: (error) => {
    throw error
  },
})
process.once('message', async () => {
  const { clients, seconds } = settings
  // The first second is the compiler's.
  for (const length of [1, seconds]) {
    const load = await closedLoop({ clients, seconds: length, call: () => log.append([freshLeaf()]) })
    if (length === seconds) process.send?.(load)
  }
  await log.close()
  process.disconnect?.()
})
process.send?.('ready')
