/// <reference path="./interfaces/keyway-transform-about.d.ts" />
/// <reference path="./interfaces/keyway-transform-config.d.ts" />
/// <reference path="./interfaces/keyway-transform-log.d.ts" />
/// <reference path="./interfaces/keyway-transform-replies.d.ts" />
/// <reference path="./interfaces/keyway-transform-transform.d.ts" />
/// <reference path="./interfaces/keyway-transform-types.d.ts" />
declare module 'keyway:transform/replying-plugin@0.1.0' {
  export type * as KeywayTransformConfig010 from 'keyway:transform/config@0.1.0'; // import keyway:transform/config@0.1.0
  export type * as KeywayTransformLog010 from 'keyway:transform/log@0.1.0'; // import keyway:transform/log@0.1.0
  export type * as KeywayTransformTypes010 from 'keyway:transform/types@0.1.0'; // import keyway:transform/types@0.1.0
  export * as replies from 'keyway:transform/replies@0.1.0'; // export keyway:transform/replies@0.1.0
  export * as about from 'keyway:transform/about@0.1.0'; // export keyway:transform/about@0.1.0
  export * as transform from 'keyway:transform/transform@0.1.0'; // export keyway:transform/transform@0.1.0
}
