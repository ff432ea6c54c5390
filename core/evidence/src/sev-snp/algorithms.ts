import { decodeHex } from '@cella/bytes'

// The DER that AMD's certificates use, byte for byte: comparing whole values leaves no parameter unread.

/** AlgorithmIdentifier id-RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48 (RFC 4055 §3.1). VCEK and VLEK have this one. */
export const rsaPssSha384: Uint8Array = decodeHex(
  '304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130',
  'RSASSA-PSS',
)

/** The same with the default trailerField written out, which is not DER; ARK, ASK and ASVK have this one. */
export const rsaPssSha384WithTrailer: Uint8Array = decodeHex(
  '304606092a864886f70d01010a3039a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101',
  'RSASSA-PSS',
)

/** SubjectPublicKeyInfo of an RSA-4096 key with exponent 65537: this, 512 bytes of modulus, then rsa4096SpkiEnd. */
export const rsa4096SpkiStart: Uint8Array = decodeHex(
  '30820222300d06092a864886f70d01010105000382020f003082020a0282020100',
  'RSA SPKI',
)
export const rsa4096SpkiEnd: Uint8Array = decodeHex('0203010001', 'RSA SPKI')
export const rsa4096SpkiLength = 550

/** SubjectPublicKeyInfo of a P-384 key: this, then the point's x and y, 48 bytes each. */
export const p384SpkiStart: Uint8Array = decodeHex('3076301006072a8648ce3d020106052b8104002203620004', 'P-384 SPKI')
export const p384SpkiLength = 120
