import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { kernelFiles, type TsmFiles } from '../src/configfs/tsm-files.ts'

// The kernel's side of configfs-tsm (drivers/virt/coco/tsm.c) over a real folder: a folder comes with its attributes and
// goes with them, each write counts the generation up, and the report is made when it is read. A temporary file system
// has neither, so making and removing a folder and writing an attribute are the kernel's here; reading is the driver's.

export interface TsmKernel {
  readonly provider: string
  /** Blobs over what was written into inblob. */
  readonly report: (inblob: Uint8Array, privilegeLevel: number) => Promise<{ out: Uint8Array; aux?: Uint8Array }>
  /** Runs before each call; what it throws is what the kernel answers. */
  readonly fault?: (call: 'make' | 'remove' | 'read' | 'write', name: string, count: number) => void | Promise<void>
  readonly privilegeFloor?: number
}

/** An error with an errno's name, as the file system throws it. */
export function kernelError(code: string): Error {
  return Object.assign(new Error(`${code}: of the kernel`), { code })
}

export interface EmulatedTsm {
  readonly files: TsmFiles
  /** Every call in its order. */
  readonly calls: string[]
  /** Writes to an attribute of every live folder, as another process would. */
  disturb(): void
}

interface Item {
  generation: number
  inblob: Uint8Array
  privilegeLevel: number
}

export function emulateTsm(kernel: TsmKernel): EmulatedTsm {
  const items = new Map<string, Item>()
  const calls: string[] = []
  const counts = new Map<string, number>()
  const enter = async (call: 'make' | 'remove' | 'read' | 'write', name: string): Promise<void> => {
    const key = `${call} ${name}`
    calls.push(key)
    counts.set(key, (counts.get(key) ?? 0) + 1)
    await kernel.fault?.(call, name, counts.get(key)!)
  }
  const itemOf = (path: string): Item => items.get(join(path, '..'))!
  const attributeOf = (path: string): string => path.split('/').at(-1)!
  const changed = async (path: string, item: Item): Promise<void> => {
    item.generation += 1
    await writeFile(join(path, '..', 'generation'), `${item.generation}\n`)
  }
  return {
    calls,
    disturb() {
      for (const item of items.values()) item.generation += 1
    },
    files: {
      async makeFolder(path) {
        await enter('make', 'folder')
        await mkdir(path)
        items.set(path, { generation: 0, inblob: new Uint8Array(), privilegeLevel: kernel.privilegeFloor ?? 0 })
        await writeFile(join(path, 'provider'), `${kernel.provider}\n`)
        await writeFile(join(path, 'generation'), '0\n')
        await writeFile(join(path, 'privlevel_floor'), `${kernel.privilegeFloor ?? 0}\n`)
      },
      async removeFolder(path) {
        await enter('remove', 'folder')
        await rm(path, { recursive: true })
        items.delete(path)
      },
      async write(path, bytes) {
        const name = attributeOf(path)
        await enter('write', name)
        const item = itemOf(path)
        if (name === 'inblob') {
          if (bytes.length === 0 || bytes.length > 64) throw kernelError('EINVAL')
          item.inblob = Uint8Array.from(bytes)
        } else if (name === 'privlevel') {
          item.privilegeLevel = Number(new TextDecoder().decode(bytes))
          if (item.privilegeLevel > 3) throw kernelError('EINVAL')
        } else throw kernelError('EACCES')
        await changed(path, item)
      },
      async read(path, bytesMax) {
        const name = attributeOf(path)
        await enter('read', name)
        const item = itemOf(path)
        if (name === 'generation') await writeFile(path, `${item.generation}\n`)
        if (name === 'outblob') {
          if (item.inblob.length === 0) throw kernelError('EINVAL')
          const { out, aux } = await kernel.report(item.inblob, item.privilegeLevel)
          await writeFile(path, out)
          if (aux) await writeFile(join(path, '..', 'auxblob'), aux)
        }
        return kernelFiles.read(path, bytesMax)
      },
    },
  }
}
