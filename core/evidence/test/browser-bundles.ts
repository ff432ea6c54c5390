import { gzipSync } from 'node:zlib'
import { bundleForBrowser } from '@cella/testing/browser'

/** What is exported for one kind of evidence each. */
const families = [
  'snpFamily',
  'sgxFamily',
  'tdxFamily',
  'nitroFamily',
  'azureVmFamily',
  'azureContainerGroupFamily',
  'maaFamily',
  'ccaFamily',
  'psaFamily',
  'tpmFamily',
  'nvidiaFamily',
  'nrasFamily',
  'earFamily',
] as const

/** Gzip of what a browser loads to verify and appraise one kind of evidence; `all` is everything this package exports. */
export async function browserBundles(
  wanted: readonly string[] = ['all', ...families],
): Promise<{ readonly name: string; readonly gzipBytes: number }[]> {
  const bundles = [
    { name: 'all', code: `import * as evidence from '@cella/evidence'; globalThis.evidence = evidence` },
    ...families.map((name) => ({
      name,
      code: `import { Verifier, ${name} } from '@cella/evidence'; globalThis.verifier = new Verifier([${name}])`,
    })),
  ]
  return Promise.all(
    bundles
      .filter(({ name }) => wanted.includes(name))
      .map(async ({ name, code }) => {
        const bundle = await bundleForBrowser(code, import.meta.dirname)
        return { name, gzipBytes: gzipSync(bundle, { level: 9 }).length }
      }),
  )
}
