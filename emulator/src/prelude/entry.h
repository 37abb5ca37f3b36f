// What the loader asks a compiled kernel file: names, parameters, launch bounds, and a way in.
// Mirrored in src/module.rs.

struct vitcuda_parameter {
  vitcuda_u32 bytes, align;
  vitcuda_u32 pointer;        // 0 a value, 1 a pointer, 2 a pointer to const
  vitcuda_u32 element_align;  // of what it points to
  vitcuda_u32 sort;           // 0 other, 1 integer, 2 float, 3 bool
};
struct vitcuda_kernel_info {
  const char* name;
  void (*invoke)(void** arguments);
  const vitcuda_parameter* parameters;
  vitcuda_u32 count, max_threads, min_blocks;
};

template <class T> struct vitcuda_align_of { static constexpr vitcuda_u32 value = alignof(T); };
template <> struct vitcuda_align_of<void> { static constexpr vitcuda_u32 value = 1; };
template <> struct vitcuda_align_of<const void> { static constexpr vitcuda_u32 value = 1; };
template <class T> struct vitcuda_sort { static constexpr vitcuda_u32 value = __is_enum(T) ? 1 : 0; };
#define VITCUDA_SORT(T, n) template <> struct vitcuda_sort<T> { static constexpr vitcuda_u32 value = n; };
VITCUDA_SORT(char, 1) VITCUDA_SORT(signed char, 1) VITCUDA_SORT(unsigned char, 1) VITCUDA_SORT(short, 1) VITCUDA_SORT(unsigned short, 1)
VITCUDA_SORT(int, 1) VITCUDA_SORT(unsigned, 1) VITCUDA_SORT(long, 1) VITCUDA_SORT(unsigned long, 1) VITCUDA_SORT(long long, 1)
VITCUDA_SORT(unsigned long long, 1) VITCUDA_SORT(float, 2) VITCUDA_SORT(double, 2) VITCUDA_SORT(bool, 3)
template <class T> struct vitcuda_describe { static constexpr vitcuda_parameter value = {sizeof(T), alignof(T), 0, 0, vitcuda_sort<T>::value}; };
template <class T> struct vitcuda_describe<T*> { static constexpr vitcuda_parameter value = {8, 8, 1, vitcuda_align_of<T>::value, 0}; };
template <class T> struct vitcuda_describe<const T*> { static constexpr vitcuda_parameter value = {8, 8, 2, vitcuda_align_of<T>::value, 0}; };
template <class T> struct vitcuda_plain { typedef T type; };
template <class T> struct vitcuda_plain<const T> { typedef T type; };
template <class T> struct vitcuda_plain<T* __restrict> { typedef T* type; };
template <class T> struct vitcuda_plain<T* __restrict const> { typedef T* type; };

template <int... I> struct vitcuda_indices {};
template <class F, F* f> struct vitcuda_kernel;
template <class... A, void (*f)(A...)> struct vitcuda_kernel<void(A...), f> {
  static constexpr vitcuda_u32 count = sizeof...(A);
  static constexpr vitcuda_parameter parameters[count + 1] = {vitcuda_describe<typename vitcuda_plain<A>::type>::value..., {0, 0, 0, 0, 0}};
  template <int... I> __attribute__((no_sanitize("thread"), no_sanitize("address"))) static void call(void** arguments, vitcuda_indices<I...>) { f(*(typename vitcuda_plain<A>::type*)arguments[I]...); }
  __attribute__((no_sanitize("thread"), no_sanitize("address"))) static void invoke(void** arguments) { call(arguments, vitcuda_indices<__integer_pack(sizeof...(A))...>()); }
};
#define VITCUDA_KERNEL(name, max_threads, min_blocks) \
  {#name, vitcuda_kernel<decltype(name), &name>::invoke, vitcuda_kernel<decltype(name), &name>::parameters, vitcuda_kernel<decltype(name), &name>::count, (vitcuda_u32)(max_threads), (vitcuda_u32)(min_blocks)}
