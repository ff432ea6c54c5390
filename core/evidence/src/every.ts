// The entry `@cella/evidence/every`: the verifier of every format, NVIDIA's devices with their manifests. Apart from the
// main entry, since it brings an XML parser.
import { nvidiaFamilyWithRims } from './nvidia/rim.ts'
import { Verifier } from './verifier.ts'
import { allFamilies } from './verify.ts'

export const everyVerifier: Verifier = new Verifier(
  allFamilies.map((family) => (family.format === nvidiaFamilyWithRims.format ? nvidiaFamilyWithRims : family)),
)
