import { join } from 'node:path'
import { HostileProxy } from '../../testing/src/hostile-proxy.ts'
import {
  freePort,
  type InstallationFile,
  RealInstallation,
  removeFolder,
  takeBundles,
  temporaryFolder,
} from './installation.ts'
import { type Scene, setScene } from './scene.ts'

/** A real installation with the scene on it, whose enclaves reach their manager through a proxy that may be hostile. */
export interface Stage {
  readonly folder: string
  readonly proxy: HostileProxy
  readonly installation: RealInstallation
  readonly file: InstallationFile
  readonly scene: Scene
  close(): Promise<void>
}

/** `options` are the supervisor's; `uses` is the limit of each payroll. */
export async function setStage(
  name: string,
  { uses, options = [] }: { uses: number; options?: readonly string[] },
): Promise<Stage> {
  const folder = temporaryFolder(name)
  const proxy = await HostileProxy.open()
  const port = await freePort()
  proxy.upstream = `http://127.0.0.1:${port}`
  const enclaves = takeBundles(join(folder, 'enclave'))
  const installation = new RealInstallation(join(folder, 'data'), [
    ...['--port', String(port), '--local-witnesses', '1', '--manager-url', proxy.url, '--enclaves', enclaves],
    ...options,
  ])
  const close = async (): Promise<void> => {
    try {
      await installation.down()
      await proxy.close()
    } finally {
      removeFolder(folder)
    }
  }
  try {
    const file = await installation.up()
    return { folder, proxy, installation, file, scene: await setScene(file, { folder, uses }), close }
  } catch (error) {
    await close()
    throw error
  }
}
