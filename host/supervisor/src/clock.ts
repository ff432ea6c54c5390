import { join } from 'node:path'
import { writeJson } from './files.ts'

/**
 * Node options that make a host process believe another time, for rehearsal: off by the seconds that config/clock says, also
 * when that changes.
 */
export function clockOptions(dataFolder: string, offsetSeconds: number | undefined): string[] {
  if (offsetSeconds === undefined) return []
  const file = join(dataFolder, 'config/clock')
  writeJson(file, offsetSeconds)
  const shift = `import { readFileSync } from 'node:fs'
    const real = Date
    let offset = 0
    const read = () => {
      const text = readFileSync(${JSON.stringify(file)}, 'utf8').trim()
      if (/^-?[0-9]+$/.test(text)) offset = Number(text) * 1000
    }
    read()
    setInterval(read, 100).unref()
    globalThis.Date = class Date extends real {
      constructor(...parts) { super(...(parts.length === 0 ? [real.now() + offset] : parts)) }
      static now() { return real.now() + offset }
    }`
  return ['--import', `data:text/javascript,${encodeURIComponent(shift)}`]
}
