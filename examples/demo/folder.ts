import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DemoError } from './cast.ts'

/** Says that a folder is the demo's, and which process works in it. */
const marker = (folder: string): string => join(folder, 'demo.json')

/** Empties `folder` and takes it, unless it is somebody else's or in use. */
export function claim(folder: string): void {
  const another = 'give another folder with --folder'
  if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(marker(folder))) {
    throw new DemoError(`${folder} is not empty and was not made by the demo`, another)
  }
  if (existsSync(marker(folder)) && isAlive(JSON.parse(readFileSync(marker(folder), 'utf8')).pid)) {
    throw new DemoError(`another demo runs in ${folder}`, `wait for it, or ${another}`)
  }
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(marker(folder), JSON.stringify({ format: 'cella-demo/1', pid: process.pid }))
}

/** The next demo may have it. */
export function release(folder: string): void {
  writeFileSync(marker(folder), JSON.stringify({ format: 'cella-demo/1', pid: -1 }))
}

function isAlive(pid: number): boolean {
  if (pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
