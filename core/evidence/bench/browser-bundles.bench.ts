import type { Figure } from '@cella/testing'
import { browserBundles } from '../test/browser-bundles.ts'

const wholeKib = 150
const oneKib = 60

/** What a browser downloads, compressed, to verify evidence. The same on every machine. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  for (const { name, gzipBytes } of await browserBundles()) {
    const value = gzipBytes / 1024
    const most = name === 'all' ? wholeKib : oneKib
    report({
      bench: name === 'all' ? 'browser bundle of core/evidence' : `browser bundle of ${name} alone`,
      value,
      unit: 'KiB gzip',
      against: `${most} KiB`,
      ratio: value / most,
      target: 1,
      met: value <= most,
    })
  }
}
