import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { digestOf } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { intelRoots } from './intel/roots.ts'
import { nvidiaRimRoots, nvidiaRoots } from './nvidia/roots.ts'
import { parseCertificate } from './x509/certificate.ts'
import { certificatesOf } from './x509/pem.ts'

sharedTest('pins the roots of Intel and NVIDIA by their keys', 'vectors/roots', () => {
  for (const [path, roots] of [
    ['intel/TrustedRootCA.der', intelRoots],
    ['nvidia/verifier_device_root.pem', nvidiaRoots],
    ['nvidia/verifier_RIM_root.pem', nvidiaRimRoots],
  ] as const) {
    const [der] = certificatesOf(new Uint8Array(readFileSync(sharedPath(`vectors/roots/${path}`))), path)
    const { spki } = parseCertificate(der!, path, 'any')
    assert.ok(roots.length > 0)
    for (const root of roots) assert.equal(root.spki, digestOf(spki), path)
  }
})
