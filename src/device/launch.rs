//! From specialisations to kernels that are loaded, and launched.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::gpu::{Driver, Gpu};
use super::kernel::{Arguments, Geometry, Kernel, Launch, Specialisation};
use super::module::Module;
use super::nvrtc;
use super::patch::Patch;
use crate::error::{Error, Result};

impl Driver {
    fn lock_modules(&self) -> MutexGuard<'_, HashMap<Specialisation, Arc<Module>>> {
        self.modules.lock().expect("no panic while it is held")
    }
}

impl Gpu {
    /// Compiles what is not compiled yet, in parallel, and loads it: afterwards nothing of `launches`
    /// needs more of the driver than the launch itself, and it can be captured.
    ///
    /// [`Error::Device`] with the compiler's messages where NVRTC refuses a kernel.
    pub fn prepare(&self, launches: &[Launch]) -> Result<()> {
        self.load(launches.iter().map(|launch| &launch.spec).collect())?;
        let mut launches: Vec<&Launch> = launches.iter().collect();
        launches.sort();
        launches.dedup();
        launches.into_iter().try_for_each(|launch| {
            let module = self.module(&launch.spec)?;
            module.resolve(launch.kernel, launch.geometry.shared)
        })
    }

    /// Compiles in parallel what is not loaded yet, and loads it.
    fn load(&self, specs: Vec<&Specialisation>) -> Result<()> {
        use rayon::prelude::*;
        let mut missing = specs;
        missing.sort();
        missing.dedup();
        missing.retain(|spec| !self.driver().lock_modules().contains_key(spec));
        let compiled: Vec<_> = missing
            .par_iter()
            .map(|spec| self.driver().compiler.compile(spec))
            .collect::<Result<_>>()?;
        for (spec, compiled) in missing.into_iter().zip(compiled) {
            let module = Module::load(&self.driver().context, &compiled.cubin)
                .or_else(|_| self.load_anew(spec))?;
            self.driver()
                .lock_modules()
                .insert(spec.clone(), Arc::new(module));
        }
        Ok(())
    }

    /// What is compiled and loaded, sorted.
    pub fn loaded(&self) -> Vec<Specialisation> {
        let mut loaded: Vec<_> = self.driver().lock_modules().keys().cloned().collect();
        loaded.sort();
        loaded
    }

    /// Kernels that are launched from now on have this fault in their text; `None`: none. Waits.
    pub fn plant(&self, patch: Option<Patch>) -> Result<()> {
        self.synchronise()?;
        let before = self.driver().compiler.plant(patch);
        let changes = [before, patch].into_iter().flatten();
        self.driver().lock_modules().retain(|spec, _| {
            let mut changes = changes.clone();
            !changes.any(|patch| patch.concerns(spec.file))
        });
        Ok(())
    }

    /// A cubin from the cache may be one that the driver does not take; one made now is not.
    fn load_anew(&self, spec: &Specialisation) -> Result<Module> {
        let compiled = self.driver().compiler.compile_anew(spec)?;
        Module::load(&self.driver().context, &compiled.cubin)
            .map_err(|error| self.unloadable(&error))
    }

    /// The error for a cubin that the driver does not take though it was made just now.
    fn unloadable(&self, error: &Error) -> Error {
        let (nvrtc, driver) = (self.compiler().nvrtc(), self.properties().driver);
        let ((major, minor), (driver_major, driver_minor)) = (nvrtc.version, driver);
        Error::device(
            format!(
                "{error}; NVRTC {major}.{minor} ({}) made it, the driver understands CUDA {driver_major}.{driver_minor}",
                nvrtc.path.display()
            ),
            format!("pip install {}", nvrtc::package(driver)),
        )
    }

    fn module(&self, spec: &Specialisation) -> Result<Arc<Module>> {
        if !self.driver().lock_modules().contains_key(spec) {
            self.load(vec![spec])?;
        }
        Ok(self.driver().lock_modules()[spec].clone())
    }

    /// [`Error::Device`] where a launch in a capture would have to load or look up its kernel.
    fn must_be_prepared(
        &self,
        spec: &Specialisation,
        kernel: &'static str,
        shared: u32,
    ) -> Result<()> {
        let modules = self.driver().lock_modules();
        let module = modules.get(spec);
        if module.is_some_and(|module| module.is_resolved(kernel, shared)) {
            Ok(())
        } else {
            Err(Error::device(
                format!(
                    "{kernel} ({spec}) with {shared} bytes of shared memory was not prepared before the capture"
                ),
                "this is a bug of vitcuda; VITCUDA_GRAPH=0 runs without captures",
            ))
        }
    }

    /// Runs `kernel`, compiled as `spec` says, on `geometry`.
    ///
    /// [`Error::Device`] where the kernel does not compile or the driver refuses the launch. What
    /// goes wrong while it runs is reported by a later call that waits.
    ///
    /// # Safety
    /// For these arguments, macros and geometry the kernel stays inside the memory that its
    /// pointers lead to, and that memory lives until the kernel is done.
    pub unsafe fn launch<K: Kernel>(
        &self,
        kernel: &K,
        spec: &Specialisation,
        geometry: Geometry,
    ) -> Result<()> {
        assert_eq!(spec.file, K::FILE, "{} is of another file", K::NAME);
        if let Some(mut record) = self.recording() {
            record.launches.push(Launch {
                spec: spec.clone(),
                kernel: K::NAME,
                geometry,
            });
            return Ok(());
        }
        if self.driver().capturing.load(Ordering::Relaxed) {
            self.must_be_prepared(spec, K::NAME, geometry.shared)?;
        }
        let module = self.module(spec)?;
        let mut arguments = Arguments::default();
        kernel.arguments(&mut arguments);
        self.bind()?;
        // SAFETY: the caller's promise; the arguments are those of the kernel's own struct.
        unsafe {
            module.launch(
                K::NAME,
                arguments.bytes(),
                geometry,
                &self.driver().main.stream,
            )
        }
    }
}
