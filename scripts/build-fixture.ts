import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addRootKeys, createProfileKeystore, keysOf, noEnd, openHome } from '@cella/sdk'
import { RealInstallation } from '../test/support/installation.ts'
import { databaseOf, filesOf, passphrase, writeLeftBehind } from '../test/support/left-behind.ts'
import { founded, introduce, type Party } from '../test/support/parties.ts'
import { approvedContract, month, publishPayroll, publishProgram, runOnce, type Scene } from '../test/support/scene.ts'

// node scripts/build-fixture.ts FILE
//
// Runs an installation of the sources as they are now, with two organisations and one finished run, and keeps what it and
// its people leave behind in FILE. Commit one at each release, below test/left-behind/: later releases go on from it.

const [file] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: node scripts/build-fixture.ts FILE')
  process.exit(2)
}
const folder = mkdtempSync(join(tmpdir(), 'cella-fixture-'))
const server = join(folder, 'server')
// What an enclave sealed opens only under its own Node and platform: the log's key is in a file here.
const options = ['--port', '0', '--local-witnesses', '1', '--log-signer', 'host']
const installation = new RealInstallation(server, options)
try {
  const description = await installation.up()
  const party = async (name: string): Promise<Party> => {
    const home = await openHome({ folder: join(folder, name), env: {} })
    const keystore = await createProfileKeystore(home, passphrase())
    await addRootKeys(keystore, 1)
    const roles = ['publisher', 'approver', 'receiver'] as const
    const keys = await keysOf(keystore)
    return founded({ name, roles, keys }, { folder: home.folder, installation: description })
  }
  const [north, office] = [await party('north'), await party('office')]
  await introduce([north, office])
  const validity = { ...month(), notAfter: noEnd }
  const scene: Scene = {
    north,
    south: office,
    university: north,
    office,
    assets: {
      north: await publishPayroll(north, { step: 2, uses: 10, receiver: office.id, validity }),
      south: await publishPayroll(office, { step: 3, uses: 10, receiver: office.id, validity }),
      program: await publishProgram(north, validity),
    },
    result:
      'source,sex,n,mean,median\nnorth,female,12,42,42\nnorth,male,12,44,44\nsouth,female,12,53,53\nsouth,male,12,56,56\n',
  }
  const contract = await approvedContract(scene, { runs: 2, attempts: 1, name: 'wages' })
  const { status } = await runOnce(north.session, contract)
  if (status !== 'finished') throw new Error(`the run is ${status}`)
  const { checkpoint } = await office.session.log()
  const database = await databaseOf(server)
  await installation.down()
  writeLeftBehind(file, {
    format: 'cella-left-behind/1',
    contract,
    result: scene.result,
    logSize: checkpoint.size,
    files: { ...filesOf(server, 'server'), ...filesOf(north.folder, 'north'), ...filesOf(office.folder, 'office') },
    database,
  })
} finally {
  await installation.down()
  rmSync(folder, { recursive: true, force: true })
}
