import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// The zones of docs/design: they meet only at the wire. This test reads every import of every source file.

const root = fileURLToPath(new URL('..', import.meta.url))
const reach: Record<string, readonly string[]> = {
  core: ['core'],
  enclave: ['core', 'enclave'],
  host: ['core', 'host'],
  client: ['core', 'client'],
  testing: ['core', 'enclave', 'host', 'client', 'testing'],
}

/** Third-party packages inside the trusted base. A new one needs a reason here and a decision record. */
const allowedThirdParty: Record<string, Record<string, string>> = {
  core: {
    '@cedar-policy/cedar-wasm': 'the policy language, by its authors; pinned by digest',
    '@noble/ciphers': 'AES-GCM in browsers',
    '@noble/curves': 'Ed25519 and ECDSA in browsers',
    '@noble/hashes': 'synchronous hashes in browsers',
    '@noble/post-quantum': 'X-Wing and ML-DSA-44 in browsers',
    '@xmldom/xmldom': 'manifests of NVIDIA, behind @cella/evidence/nvidia-rim; no dependencies',
    hpke: 'RFC 9180 over WebCrypto, no dependencies',
    'shamir-secret-sharing': 'shares of a key in several vaults; audited, no dependencies',
    zod: 'strict schemas without code from strings, no dependencies',
  },
  enclave: { '@cedar-policy/cedar-wasm': 'bundled for core/policy', zod: 'schemas of requests' },
}

interface Package {
  readonly zone: string
  readonly folder: string
  readonly name: string
  readonly dependencies: Record<string, string>
}

const packages: Package[] = Object.keys(reach).flatMap((zone) => {
  const folders = zone === 'testing' ? ['testing'] : readdirSync(join(root, zone)).map((name) => join(zone, name))
  return folders
    .filter((folder) => statSync(join(root, folder)).isDirectory())
    .map((folder) => {
      const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
      const { name, dependencies = {} } = manifest
      return { zone, folder, name, dependencies }
    })
})
const zoneOf = new Map(packages.map(({ name, zone }) => [name, zone]))

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules') && !name.startsWith('dist'))
    .map((name) => join(folder, name))
}

function isTestOnly(file: string): boolean {
  return /\.(?:test|suite|bench|testing|test-support)\.ts$|\/(?:bench|testing|test)\//.test(file)
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [
    ...text.matchAll(/(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s+['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]/g),
  ].map((match) => (match[1] ?? match[2])!)
}

/** `@cella/log` of `@cella/log/x`, `zod` of `zod/v4`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

test('the walk finds packages, files and imports in every zone', () => {
  for (const zone of Object.keys(reach)) {
    const found = packages.filter((candidate) => candidate.zone === zone)
    assert.ok(found.length > 0, `no package in ${zone}`)
    assert.ok(found.flatMap(({ folder }) => sources(folder)).flatMap(importsOf).length > 0, `no import in ${zone}`)
  }
  assert.ok(packages.length >= 20, `only ${packages.length} packages`)
})

for (const { zone, folder, name, dependencies } of packages) {
  test(`${name} stays inside ${zone}`, () => {
    for (const dependency of Object.keys(dependencies)) {
      const target = zoneOf.get(dependency)
      assert.ok(target === undefined || reach[zone]!.includes(target), `${name} depends on ${dependency} of ${target}`)
    }
    for (const file of sources(folder)) {
      for (const specifier of importsOf(file)) {
        if (specifier.startsWith('.')) {
          const target = relative(join(root, folder), resolve(root, dirname(file), specifier))
          assert.ok(!target.startsWith('..'), `${file} imports ${specifier}, which leaves its package`)
          continue
        }
        if (/^(?:node:|#)/.test(specifier)) {
          const isBuiltIn = specifier.startsWith('node:')
          const isPlatform = file.endsWith('platform-node.ts')
          assert.ok(!(zone === 'core' && isBuiltIn && !isPlatform && !isTestOnly(file)), `${file} imports ${specifier}`)
          continue
        }
        const dependency = packageOf(specifier)
        if (dependency === name) continue
        if (isTestOnly(file)) continue
        assert.ok(dependency in dependencies, `${file} imports ${dependency}, which ${name} does not declare`)
        const target = zoneOf.get(dependency)
        assert.ok(target === undefined || reach[zone]!.includes(target), `${file} imports ${dependency} of ${target}`)
      }
    }
  })
}

for (const zone of ['core', 'enclave']) {
  test(`third-party packages in ${zone} are the listed ones`, () => {
    const used = new Set(
      packages
        .filter((candidate) => candidate.zone === zone)
        .flatMap(({ dependencies }) => Object.keys(dependencies))
        .filter((dependency) => !zoneOf.has(dependency)),
    )
    assert.ok(used.size > 0, `no third-party package seen in ${zone}`)
    assert.deepEqual([...used].sort(), Object.keys(allowedThirdParty[zone]!).sort())
  })
}

test('no enclave makes traces', () => {
  const enclaves = packages.filter(({ zone }) => zone === 'enclave')
  for (const { name, dependencies } of enclaves) assert.ok(!('@cella/trace' in dependencies), name)
})
